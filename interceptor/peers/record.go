package peers

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Sizes on the wire.
const (
	recordHeadBytes = 4       // length of what follows, big endian
	frameHeadBytes  = 13      // kind, id, length
	sealBytes       = 16      // the record's authentication tag
	keepBytes       = 1 << 18 // buffers above this are given back to the system after use

	// MaxPayload bounds one frame: an upstream's longest answer, and some.
	MaxPayload = 68 << 20
	maxRecord  = MaxPayload + 1<<20
)

var (
	errRecordLength = errors.New("a record is empty or too long")
	errSeal         = errors.New("a record was changed on its way, repeated, or sealed under another key")
	errFrame        = errors.New("a frame is cut off or unknown")
)

// sealer seals or opens the records of one direction of a link. Each record has the next number as its
// nonce, so that none can be left out, swapped or repeated; the key is of this direction of this link only.
type sealer struct {
	aead  cipher.AEAD
	nonce [12]byte
	count uint64
}

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead}, nil
}

func (s *sealer) next() []byte {
	binary.BigEndian.PutUint64(s.nonce[4:], s.count)
	s.count++
	return s.nonce[:]
}

// seal finishes a record in place: record begins with room for its head.
func (s *sealer) seal(record []byte) []byte {
	sealed := s.aead.Seal(record[recordHeadBytes:recordHeadBytes], s.next(), record[recordHeadBytes:], nil)
	if &sealed[0] != &record[:recordHeadBytes+1][recordHeadBytes] { // there was no room for the tag
		record = append(record[:recordHeadBytes], sealed...)
	} else {
		record = record[:recordHeadBytes+len(sealed)]
	}
	binary.BigEndian.PutUint32(record, uint32(len(sealed)))
	return record
}

// open gives the frames of a record in place.
func (s *sealer) open(sealed []byte) ([]byte, error) {
	frames, err := s.aead.Open(sealed[:0], s.next(), sealed, nil)
	if err != nil {
		return nil, errSeal
	}
	return frames, nil
}

// recordReader reads records from a connection through one buffer, many records a read when many are
// there.
type recordReader struct {
	from       io.Reader
	opener     *sealer
	heard      *atomic.Int64 // is told when something came, unix ns; nil: nobody asks
	buf        []byte
	start, end int
}

// minRead is the room that is kept for one read, bytes.
const minRead = 64 << 10

// next gives the frames of the next record. They lie in the reader's buffer until the next call.
func (r *recordReader) next() ([]byte, error) {
	if err := r.fill(recordHeadBytes); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(r.buf[r.start:]))
	if length < sealBytes+frameHeadBytes || length > maxRecord {
		return nil, errRecordLength
	}
	if err := r.fill(recordHeadBytes + length); err != nil {
		return nil, err
	}
	sealed := r.buf[r.start+recordHeadBytes : r.start+recordHeadBytes+length]
	r.start += recordHeadBytes + length
	return r.opener.open(sealed)
}

// buffered reports whether another record has begun to arrive already.
func (r *recordReader) buffered() bool { return r.end > r.start }

// fill reads until n bytes are there from start.
func (r *recordReader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if cap(r.buf) > keepBytes && n <= minRead && r.end <= minRead {
		r.buf = append([]byte(nil), r.buf[:r.end]...)
	}
	// It grows with what arrives, and not with what a record's head promises.
	for r.end < n {
		if len(r.buf)-r.end < minRead/2 {
			grown := make([]byte, max(minRead, 2*len(r.buf)))
			copy(grown, r.buf[:r.end])
			r.buf = grown
		}
		got, err := r.from.Read(r.buf[r.end:])
		r.end += got
		if got > 0 && r.heard != nil {
			r.heard.Store(time.Now().UnixNano())
		}
		if err != nil && r.end < n {
			return err
		}
	}
	return nil
}

// frame is one message of a link.
type frame struct {
	kind    byte
	id      uint64
	payload []byte // lies in the record
}

// appendFrame adds a frame to a record.
func appendFrame(record []byte, kind byte, id uint64, payload []byte) []byte {
	record = append(record, kind)
	record = binary.BigEndian.AppendUint64(record, id)
	record = binary.BigEndian.AppendUint32(record, uint32(len(payload)))
	return append(record, payload...)
}

// cutFrame takes the first frame off a record's text.
func cutFrame(frames []byte) (f frame, rest []byte, err error) {
	if len(frames) < frameHeadBytes {
		return frame{}, nil, errFrame
	}
	length := int(binary.BigEndian.Uint32(frames[9:]))
	if length > len(frames)-frameHeadBytes {
		return frame{}, nil, fmt.Errorf("%w: %d bytes are missing", errFrame, length-(len(frames)-frameHeadBytes))
	}
	f = frame{kind: frames[0], id: binary.BigEndian.Uint64(frames[1:]), payload: frames[frameHeadBytes : frameHeadBytes+length]}
	return f, frames[frameHeadBytes+length:], nil
}
