package machine

import (
	"encoding/binary"
	"fmt"
)

// Encoded is commands in the form that a log entry holds, one behind the other. Gathering them so, rather
// than as Commands, keeps nothing of a request but its bytes. The zero value is empty.
type Encoded struct {
	bytes []byte
	count int
}

// Add encodes one command, which must have passed Validate. Nothing of it is kept.
func (e *Encoded) Add(c *Command) {
	e.bytes = c.append(e.bytes)
	e.count++
}

// Len is the number of commands.
func (e *Encoded) Len() int { return e.count }

// Size is their size in bytes.
func (e *Encoded) Size() int { return len(e.bytes) }

// Reset empties it, and keeps memory of up to keep bytes for the next use.
func (e *Encoded) Reset(keep int) {
	if e.bytes, e.count = e.bytes[:0], 0; cap(e.bytes) > keep {
		e.bytes = nil
	}
}

// AppendEntry appends the log entry of all the commands of parts, in their order. It is what
// Entry.Append gives for them, and panics as that does.
func AppendEntry(dst []byte, wall, served int64, parts ...*Encoded) []byte {
	count, size := 0, maxEntryFrame
	for _, p := range parts {
		count += p.count
		size += len(p.bytes)
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+size), dst...)
	}
	dst = appendEntryHead(dst, wall, served, count)
	for _, p := range parts {
		dst = append(dst, p.bytes...)
	}
	return appendEntrySum(dst, start)
}

// maxEntryFrame is what an entry takes besides its commands, at most.
const maxEntryFrame = 1 + 3*binary.MaxVarintLen64 + 4

func appendEntryHead(dst []byte, wall, served int64, count int) []byte {
	if count > MaxCommands {
		panic(fmt.Sprintf("machine: an entry of %d commands, at most %d are allowed", count, MaxCommands))
	}
	dst = append(dst, EntryVersion)
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
