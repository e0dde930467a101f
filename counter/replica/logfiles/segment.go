package logfiles

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft-wal/types"
)

// A segment file: a header, then writes. Each write is one frame per entry, in the last write of a full
// file a frame with the index of the file, and a commit frame with the CRC of all that was written since
// the commit frame before it. A write is synced before it is acknowledged, and before the next one
// begins. Frames start at multiples of eight bytes; the rest of the file is zeros.
const (
	headerBytes = 32
	headerMagic = 0x58eb6b0d
	frameBytes  = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3

	// maxEntryBytes is raft-wal's own bound.
	maxEntryBytes = 64 << 20
	// sectorBytes is the least that a disk writes; of an interrupted write a sector may be missing.
	sectorBytes = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is a segment file in memory. Its bytes are at most a write longer than the segment size.
type segment struct {
	text  []byte
	first uint64 // the index of its first entry
}

// written is what the whole writes of a segment hold.
type written struct {
	end     int      // the offset behind the last whole write; 0 when there is none
	offsets []uint32 // of the entries' frames
	indexAt int      // the offset of the index's content; 0 when there is none
	why     string   // what stopped the reading
	at      int      // and where
}

// next is the index of the entry that would come next.
func (w *written) next(first uint64) uint64 { return first + uint64(len(w.offsets)) }

// read goes through the whole writes from the start on.
func (s *segment) read() written {
	var w written
	if why := s.headerProblem(); why != "" {
		w.why = why
		return w
	}
	crcFrom, at := 0, headerBytes
	offsets, indexAt := []uint32(nil), 0
	for {
		kind, length, why := s.frame(at)
		switch {
		case why != "":
			w.why, w.at = why, at
			return w
		case kind == frameEntry:
			if index, ok := s.entryIndex(at); !ok || index != s.first+uint64(len(offsets)) {
				w.why, w.at = fmt.Sprintf("entry %d is not there", s.first+uint64(len(offsets))), at
				return w
			}
			offsets = append(offsets, uint32(at))
		case kind == frameIndex:
			indexAt = at + frameBytes
		case crc32.Checksum(s.text[crcFrom:at], castagnoli) != s.crcAt(at):
			w.why, w.at = "the checksum of the write does not match", crcFrom
			return w
		default:
			w.end, w.offsets, w.indexAt = at+frameBytes, offsets, indexAt
			crcFrom = w.end
		}
		at += paddedFrame(length)
	}
}

func (s *segment) headerProblem() string {
	switch {
	case len(s.text) < headerBytes:
		return "the header is cut off"
	case binary.LittleEndian.Uint64(s.text) != headerMagic:
		return "the header is not that of a log file"
	case binary.LittleEndian.Uint64(s.text[8:]) != s.first:
		return fmt.Sprintf("the header says that entry %d is the first", binary.LittleEndian.Uint64(s.text[8:]))
	}
	return ""
}

// id is the number in the header.
func (s *segment) id() uint64 { return binary.LittleEndian.Uint64(s.text[16:]) }

// frame gives kind and content length of the frame at an offset, or why there is none.
func (s *segment) frame(at int) (kind byte, length int, why string) {
	if at+frameBytes > len(s.text) {
		return 0, 0, "the file ends"
	}
	head := s.text[at : at+frameBytes]
	if head[1]|head[2]|head[3] != 0 {
		return 0, 0, "no frame begins here"
	}
	switch kind = head[0]; kind {
	case frameCommit:
		return kind, 0, ""
	case frameEntry, frameIndex:
		n := binary.LittleEndian.Uint32(head[4:])
		if n > maxEntryBytes || at+paddedFrame(int(n)) > len(s.text) {
			return 0, 0, fmt.Sprintf("a frame of %d bytes does not fit", n)
		}
		return kind, int(n), ""
	}
	return 0, 0, "no frame begins here"
}

func paddedFrame(length int) int { return (frameBytes + length + frameBytes - 1) &^ (frameBytes - 1) }

func (s *segment) crcAt(at int) uint32 { return binary.LittleEndian.Uint32(s.text[at+4:]) }

// entryIndex is the index that the entry at an offset says it has: its content begins with it.
func (s *segment) entryIndex(at int) (uint64, bool) {
	index, n := binary.Uvarint(s.text[at+frameBytes : min(at+frameBytes+binary.MaxVarintLen64, len(s.text))])
	return index, n > 0
}

// lastWord is the offset of the last eight bytes that are not zeros, at or after from; -1 when there are
// only zeros.
func (s *segment) lastWord(from int) int {
	for i := len(s.text) - 1; i >= from; i-- {
		if s.text[i] != 0 {
			return i &^ (frameBytes - 1)
		}
	}
	return -1
}

// wholeWriteAfter finds a write behind from whose entries come later than next, complete and with the
// right checksum. Such a write began after the one before it was synced: what is unreadable before it is
// damage. It returns -1 when there is none.
func (s *segment) wholeWriteAfter(from int, next uint64) int {
	for at := from + frameBytes; at+2*frameBytes <= len(s.text); at += frameBytes {
		if s.isWholeWrite(at, next) {
			return at
		}
	}
	return -1
}

func (s *segment) isWholeWrite(from int, after uint64) bool {
	if kind, _, why := s.frame(from); why != "" || kind != frameEntry {
		return false
	}
	first, ok := s.entryIndex(from)
	if !ok || first <= after {
		return false
	}
	entries := uint64(0)
	for at := from; ; {
		kind, length, why := s.frame(at)
		switch {
		case why != "":
			return false
		case kind == frameCommit:
			return crc32.Checksum(s.text[from:at], castagnoli) == s.crcAt(at)
		case kind == frameEntry:
			if index, ok := s.entryIndex(at); !ok || index != first+entries {
				return false
			}
			entries++
		}
		at += paddedFrame(length)
	}
}

// complete reports whether the bytes from one offset to the end of what is not zero can be no interrupted
// write: they end in a commit frame, and no sector of them is missing or cut short.
func (s *segment) complete(from int) bool {
	last := s.lastWord(from)
	if last < 0 {
		return false
	}
	if kind, _, why := s.frame(last); why != "" || kind != frameCommit {
		return false
	}
	for end := (from/sectorBytes + 1) * sectorBytes; end <= last; end += sectorBytes {
		if allZero(s.text[max(from, end-frameBytes):end]) {
			return false
		}
	}
	return true
}

func allZero(text []byte) bool {
	for _, b := range text {
		if b != 0 {
			return false
		}
	}
	return true
}

// matches compares what is in a sealed segment with what the log's index says about it.
func (w *written) matches(info *types.SegmentInfo) string {
	switch {
	case w.indexAt == 0 || uint64(w.indexAt) != info.IndexStart:
		return fmt.Sprintf("the index of the file should be at offset %d", info.IndexStart)
	case info.MaxIndex >= w.next(info.BaseIndex):
		return fmt.Sprintf("entries %d to %d are missing", w.next(info.BaseIndex), info.MaxIndex)
	}
	return ""
}
