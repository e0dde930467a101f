package peers

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// inbound is a link that a peer opened to this node: it brings hops, pings and what is handed over.
type inbound struct {
	outbox
	set    *Set
	from   *member
	reader recordReader
	active atomic.Int64 // hops that are not answered
	heard  atomic.Int64 // when a record came, unix ns
}

// Serve serves an accepted link until it ends. It closes the connection.
func (s *Set) Serve(conn net.Conn, c Consent) {
	in := &inbound{outbox: newOutbox(conn, c.send, &s.serving), set: s, from: s.peer(c.From), reader: recordReader{from: conn, opener: c.receive}}
	in.heard.Store(s.clock().UnixNano())
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = conn.Close()
		return
	}
	s.serving.Add(1)
	s.inbounds[in] = struct{}{}
	s.mu.Unlock()
	defer s.serving.Done()
	err := in.read()
	in.fail(err)
	s.mu.Lock()
	delete(s.inbounds, in)
	s.mu.Unlock()
}

// maxSilence is in ping intervals. It only tidies up: whoever opened a link finds out by himself, and sooner.
const maxSilence = 60

// silentInbounds closes links on which nothing came for too long, with the lock held.
func (s *Set) silentInbounds(now time.Time) {
	limit := now.Add(-maxSilence * s.cfg.PingInterval).UnixNano()
	for in := range s.inbounds {
		if in.heard.Load() < limit {
			in.fail(fmt.Errorf("nothing came from %s", in.from.name))
		}
	}
}

// read serves records until the link is down. What a record asks for is answered in one record, as far
// as the answers are known at its end.
func (in *inbound) read() error {
	for {
		frames, err := in.reader.next()
		if err != nil {
			return err
		}
		in.heard.Store(in.set.clock().UnixNano())
		corked := in.cork()
		err = in.serve(frames)
		if corked {
			in.write(false)
		}
		if err != nil {
			in.set.BadLinks.Add(1)
			return err
		}
	}
}

func (in *inbound) serve(frames []byte) (err error) {
	s := in.set
	for len(frames) > 0 {
		var f frame
		if f, frames, err = cutFrame(frames); err != nil {
			return err
		}
		switch f.kind {
		case frameHop:
			if err := in.hop(f); err != nil {
				return err
			}
		case framePing:
			word, ok := parseWord(f.payload)
			if !ok {
				return errFrame
			}
			in.from.said(word, false)
			_ = in.post(framePong, f.id, s.word().append(nil))
		case frameChunk:
			if err := s.takeOver(in.from, f.payload); err != nil {
				return err
			}
			_ = in.post(frameTaken, f.id, nil)
		default:
			return errFrame
		}
	}
	return nil
}

func (in *inbound) hop(f frame) error {
	if len(f.payload) < hopHeadBytes {
		return errFrame
	}
	hop := Hop{
		Key: binary.BigEndian.Uint64(f.payload), Epoch: binary.BigEndian.Uint64(f.payload[8:]), Payload: f.payload[hopHeadBytes:],
		From: in.from.name, in: in, id: f.id,
	}
	if in.active.Add(1) > int64(in.set.cfg.HopsPerLink) {
		hop.end(frameBusy, nil)
		return nil
	}
	in.set.lastHop.Store(in.heard.Load())
	in.set.handler.ServeHop(hop)
	return nil
}

// Hop is a request that a peer sent here, once, because it takes this node for the user's owner.
type Hop struct {
	Key     uint64
	Epoch   uint64 // of the sender's ring
	Payload []byte // until ServeHop returns
	From    string

	in *inbound
	id uint64
}

// Answer sends the answer. The peer may be gone: then nobody hears it.
func (h Hop) Answer(payload []byte) { h.end(frameServed, payload) }

// Moved tells the sender that the hop was not served, since its key was handed over to another node.
func (h Hop) Moved(owner string) { h.end(frameMoved, []byte(owner)) }

// Busy tells the sender that the hop was not served for want of room.
func (h Hop) Busy() { h.end(frameBusy, nil) }

func (h Hop) end(kind byte, payload []byte) {
	_ = h.in.post(kind, h.id, payload)
	h.in.active.Add(-1)
}
