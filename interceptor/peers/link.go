package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of frames. Those of the node that opened the link are odd, the answers to them even.
const (
	frameHop    byte = 1  // key, epoch, payload
	frameServed byte = 2  // the owner's answer
	framePing   byte = 3  // status
	framePong   byte = 4  // status
	frameChunk  byte = 5  // handed-over state
	frameTaken  byte = 6  // the answer to it
	frameMoved  byte = 8  // not served: the name of the node that the key was handed over to
	frameBusy   byte = 10 // not served: no room
)

// Errors of a call over a link.
var (
	// ErrNotSent: the peer has certainly not seen it.
	ErrNotSent = errors.New("not sent")
	// ErrUnknown: the peer may have seen it, and its answer is lost.
	ErrUnknown = errors.New("no answer: it is not known what became of it")
)

// call is one request on a link. It is pooled.
type call struct {
	done     chan struct{} // one token when it is over
	kind     byte          // of the answer's frame; 0 with err
	answer   []byte
	err      error
	batch    uint64
	deadline time.Time
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func releaseCall(c *call) {
	if cap(c.answer) > keepBytes {
		c.answer = nil
	}
	*c = call{done: c.done, answer: c.answer[:0]}
	calls.Put(c)
}

// slot is a place for one call under way; its generation tells answers to earlier calls apart.
type slot struct {
	call       *call
	generation uint32
}

// link is one connection that this node opened to a peer. It is safe for concurrent use.
type link struct {
	outbox // its lock also holds the slots
	reader recordReader
	slots  []slot
	free   []uint32
	most   int          // slots at most
	heard  atomic.Int64 // when something came, unix ns
	missed int          // ping intervals in which nothing did; the health check's

	pong func(status []byte)
}

func newLink(conn net.Conn, send, receive *sealer, most int, pong func([]byte), helpers *sync.WaitGroup) *link {
	l := &link{outbox: newOutbox(conn, send, helpers), reader: recordReader{from: conn, opener: receive}, most: most, pong: pong}
	l.reader.heard = &l.heard
	return l
}

// do sends one frame and waits for its answer until the deadline at most, to the precision of the health
// check's tick. The call that it gives is the caller's to release; its err is ErrNotSent or ErrUnknown.
func (l *link) do(kind byte, payload []byte, deadline time.Time) *call {
	c := calls.Get().(*call)
	c.deadline = deadline
	l.mu.Lock()
	id, err := l.take(c)
	write := false
	if err == nil {
		c.batch, write, err = l.add(kind, id, payload)
		if err != nil {
			l.giveBack(uint32(id))
		}
	}
	l.mu.Unlock()
	if err != nil {
		c.err = fmt.Errorf("%w: %w", ErrNotSent, err)
		return c
	}
	if write {
		l.write(true)
	}
	<-c.done
	return c
}

// take finds a slot, with the lock held.
func (l *link) take(c *call) (id uint64, err error) {
	if l.err != nil {
		return 0, l.err
	}
	var at uint32
	switch n := len(l.free); {
	case n > 0:
		at = l.free[n-1]
		l.free = l.free[:n-1]
	case len(l.slots) < l.most:
		at = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	default:
		return 0, errLinkBusy
	}
	s := &l.slots[at]
	s.call = c
	s.generation++
	return uint64(s.generation)<<32 | uint64(at), nil
}

// giveBack frees a slot, with the lock held, and gives its call.
func (l *link) giveBack(at uint32) *call {
	c := l.slots[at].call
	l.slots[at].call = nil
	l.free = append(l.free, at)
	return c
}

// underWay is the number of calls that wait for their answer.
func (l *link) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.slots) - len(l.free)
}

// answered ends the call that a frame answers. Answers to calls that are over are dropped.
func (l *link) answered(f frame) {
	at, generation := uint32(f.id), uint32(f.id>>32)
	l.mu.Lock()
	if int(at) >= len(l.slots) || l.slots[at].generation != generation || l.slots[at].call == nil {
		l.mu.Unlock()
		return
	}
	c := l.giveBack(at)
	l.mu.Unlock()
	c.kind = f.kind
	c.answer = append(c.answer[:0], f.payload...)
	c.done <- struct{}{}
}

// read passes answers to their calls until the link is down.
func (l *link) read() error {
	for {
		frames, err := l.reader.next()
		if err != nil {
			return err
		}
		for len(frames) > 0 {
			var f frame
			if f, frames, err = cutFrame(frames); err != nil {
				return err
			}
			switch f.kind {
			case framePong:
				l.pong(f.payload)
			case frameServed, frameMoved, frameBusy, frameTaken:
				l.answered(f)
			default:
				return errFrame
			}
		}
	}
}

// down takes the link down and ends its calls: those whose record had not begun to be written were
// certainly not sent.
func (l *link) down(cause error) {
	l.fail(cause)
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.slots {
		if l.slots[at].call == nil {
			continue
		}
		c := l.giveBack(uint32(at))
		if c.err = ErrUnknown; c.batch >= l.batch {
			c.err = ErrNotSent
		}
		c.err = fmt.Errorf("%w: %w", c.err, l.err)
		c.done <- struct{}{}
	}
}

// expire ends the calls whose deadline has passed.
func (l *link) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.slots {
		if c := l.slots[at].call; c != nil && now.After(c.deadline) {
			l.giveBack(uint32(at))
			c.err = fmt.Errorf("%w: it took too long", ErrUnknown)
			c.done <- struct{}{}
		}
	}
}

// hopHeadBytes is what stands before a hop's payload: key and epoch.
const hopHeadBytes = 16

// AppendHopHead begins a hop's frame; the payload follows.
func appendHopHead(dst []byte, key, epoch uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, key)
	return binary.BigEndian.AppendUint64(dst, epoch)
}
