package machine

import (
	"encoding/binary"
	"fmt"
)

// Encoded is commands in the form that a log entry holds, one behind the other. Gathering them so, rather
// than as Commands, keeps nothing of a request but its bytes. The zero value is empty.
type Encoded struct {
	bytes   []byte
	count   int
	version int // the lowest format that has all of them, as they are written
	// sale is where in bytes the sale of the last reservation is named; empty before the first one.
	sale struct{ from, to int }
}

// Add encodes one command, which must have passed Validate, in the shortest form that format version newest has.
// Nothing of it is kept.
func (e *Encoded) Add(c *Command, newest int) {
	e.count++
	if c.Kind != Reserve {
		version := c.version()
		e.bytes = c.append(e.bytes, version)
		e.version = max(e.version, version)
		return
	}
	if newest >= 3 && e.sale.to > 0 && c.Sale == string(e.bytes[e.sale.from:e.sale.to]) {
		e.bytes = c.appendAgain(e.bytes)
		e.version = max(e.version, 3)
		return
	}
	e.bytes = appendString(append(e.bytes, byte(Reserve)), c.Sale)
	e.sale.from, e.sale.to = len(e.bytes)-len(c.Sale), len(e.bytes)
	e.bytes = c.appendBuyer(e.bytes)
	e.version = max(e.version, EntryVersionMin)
}

// Commands decodes what was added, for the few whose outcome has to be followed up. Nothing of the result
// refers to e.
func (e *Encoded) Commands() []Command {
	d := decoder{b: e.bytes, version: EntryVersion}
	commands := make([]Command, e.count)
	for i := range commands {
		d.command(&commands[i])
	}
	if d.err != nil {
		panic("machine: a command that was encoded cannot be read: " + d.err.Error())
	}
	return commands
}

// Len is the number of commands.
func (e *Encoded) Len() int { return e.count }

// Size is their size in bytes.
func (e *Encoded) Size() int { return len(e.bytes) }

// Reset empties it, and keeps memory of up to keep bytes for the next use.
func (e *Encoded) Reset(keep int) {
	*e = Encoded{bytes: e.bytes[:0]}
	if cap(e.bytes) > keep {
		e.bytes = nil
	}
}

// AppendEntry appends the log entry of all the commands of parts, in their order. It means what Entry.Append
// gives for them, in the lowest version that has them as they are written, and panics as that does.
func AppendEntry(dst []byte, wall, served int64, parts ...*Encoded) []byte {
	version, count, size := EntryVersionMin, 0, maxEntryFrame
	for _, p := range parts {
		version = max(version, p.version)
		count += p.count
		size += len(p.bytes)
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	dst = appendEntryHead(dst, version, wall, served, count)
	for _, p := range parts {
		dst = append(dst, p.bytes...)
	}
	return appendEntrySum(dst, start)
}

// maxEntryFrame is what an entry takes besides its commands, at most.
const maxEntryFrame = 1 + 3*binary.MaxVarintLen64 + 4

func appendEntryHead(dst []byte, version int, wall, served int64, count int) []byte {
	if count > MaxCommands {
		panic(fmt.Sprintf("machine: an entry of %d commands, at most %d are allowed", count, MaxCommands))
	}
	dst = append(dst, byte(version))
	dst = appendInts(dst, wall, served)
	return binary.AppendUvarint(dst, uint64(count))
}

func appendEntrySum(dst []byte, start int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
	if size := len(dst) - start; size > MaxEntryBytes {
		panic(fmt.Sprintf("machine: an entry of %d bytes, at most %d are allowed", size, MaxEntryBytes))
	}
	return dst
}
