package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// What makes a peer dead or alive.
const (
	missesToDie     = 3  // ping intervals without a word on any link
	linkMissesToDie = 12 // the same on one of them
	answersToLive   = 2
	// probeEvery is the time between pings of a peer that answers but is not taken for alive yet.
	probeEvery = 20 * time.Millisecond
)

// member is one other edge. Its fields from tried on are guarded by Set.mu.
type member struct {
	set     *Set
	name    string
	address string
	wake    chan struct{}            // asks for a ping at once
	links   atomic.Pointer[[]*link]  // nil: not connected
	status  atomic.Pointer[peerWord] // what it said last

	counted time.Time // by misses, which only run calls

	tried    bool // connecting was tried at least once
	alive    bool
	draining bool
	through  uint64    // the ring for which it has handed over all that it had for this node
	answers  int       // pongs since it was connected
	heard    time.Time // when it last answered
	cause    error     // why it is not connected
	differs  time.Time // since when its ring or configuration is another one than this node's; zero: it is not
}

// peerWord is what a peer says of itself.
type peerWord struct {
	draining   bool
	joining    bool   // it has not heard from its peers yet, and has nothing to hand over
	number     uint64 // rises with each word, so that one which was overtaken on its way is known
	epoch      uint64
	configHash string
}

const (
	wordBytes    = 17
	maxHashBytes = 64

	wordDraining = 1
	wordJoining  = 2
)

func (w peerWord) append(dst []byte) []byte {
	state := byte(0)
	if w.draining {
		state |= wordDraining
	}
	if w.joining {
		state |= wordJoining
	}
	dst = binary.BigEndian.AppendUint64(append(dst, state), w.number)
	dst = binary.BigEndian.AppendUint64(dst, w.epoch)
	return append(dst, w.configHash[:min(len(w.configHash), maxHashBytes)]...)
}

func parseWord(text []byte) (w peerWord, ok bool) {
	if len(text) < wordBytes || len(text) > wordBytes+maxHashBytes || text[0] > wordDraining|wordJoining {
		return w, false
	}
	return peerWord{draining: text[0]&wordDraining != 0, joining: text[0]&wordJoining != 0, number: binary.BigEndian.Uint64(text[1:]), epoch: binary.BigEndian.Uint64(text[9:]), configHash: string(text[wordBytes:])}, true
}

// word is what this node says of itself.
func (s *Set) word() peerWord {
	hash := s.configHash()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words++
	return peerWord{draining: s.draining, joining: s.joining, number: s.words, epoch: s.view.Load().epoch, configHash: hash}
}

// joining reports whether the member has said that it has nothing to hand over yet.
func (m *member) joining() bool {
	word := m.status.Load()
	return word == nil || word.joining
}

// poke asks for a ping at once.
func (m *member) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// run keeps the links to the member and checks its health, until ctx ends.
func (m *member) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			m.lost(nil, context.Canceled)
			return
		case <-timer.C:
		case <-m.wake:
		}
		pause := m.check(ctx)
		timer.Reset(pause)
	}
}

// check connects or pings, and gives the time until the next check.
func (m *member) check(ctx context.Context) time.Duration {
	links := m.links.Load()
	if links == nil {
		if err := m.connect(ctx); err != nil {
			m.notConnected(err)
			return m.set.cfg.PingInterval
		}
		links = m.links.Load()
		if links == nil { // lost again
			return m.set.cfg.PingInterval
		}
	}
	now := m.set.clock()
	if err := m.misses(*links, now); err != nil {
		m.lost(nil, err)
		return probeEvery
	}
	m.set.mu.Lock()
	alive := m.alive
	m.set.mu.Unlock()
	text := m.set.word().append(nil)
	for _, l := range *links {
		l.expire(now)
		// A link that is down is its reader's to report. Writing may take until the link is closed, which is
		// for us to do: somebody else writes.
		if write, err := l.leave(framePing, 0, text); err == nil && write {
			m.set.serving.Go(func() { l.write(false) })
		}
	}
	if !alive {
		return probeEvery
	}
	return m.set.cfg.PingInterval
}

// misses counts the ping intervals in a row in which nothing came over a link: neither a pong nor any part of an
// answer, since a pong may stand behind a long one. It gives an error when the peer is dead, or one of its links
// is. It counts rather than measures: when this process itself stood still, no time passed for the others either.
func (m *member) misses(links []*link, now time.Time) error {
	if now.Sub(m.counted) < m.set.cfg.PingInterval*9/10 {
		return nil
	}
	least, most := math.MaxInt, 0
	for _, l := range links {
		if l.missed++; l.heard.Load() >= m.counted.UnixNano() {
			l.missed = 0
		}
		least, most = min(least, l.missed), max(most, l.missed)
	}
	m.counted = now
	switch {
	case least >= missesToDie:
		return fmt.Errorf("no answer to %d pings", least)
	case most >= linkMissesToDie:
		return fmt.Errorf("no answer to %d pings over one of the links", most)
	}
	return nil
}

// connect opens all links.
func (m *member) connect(ctx context.Context) error {
	s := m.set
	var list []*link
	for range s.cfg.Links {
		l, err := m.open(ctx)
		if err != nil {
			for _, l := range list {
				l.down(err)
			}
			return err
		}
		list = append(list, l)
	}
	s.mu.Lock()
	m.heard, m.answers, m.cause = s.clock(), 0, nil
	m.counted = m.heard
	m.status.Store(nil) // it may be a new process, which counts its words anew
	m.draining = false
	m.links.Store(&list)
	s.mu.Unlock()
	for _, l := range list {
		s.serving.Go(func() { m.lost(l, l.read()) })
	}
	return nil
}

func (m *member) open(ctx context.Context) (*link, error) {
	s := m.set
	conn, err := s.dial(ctx, m.address)
	if err != nil {
		return nil, err
	}
	send, receive, rest, err := s.openLink(conn, m.name, m.address, s.clock())
	if err != nil {
		return nil, err
	}
	l := newLink(conn, send, receive, s.cfg.HopsPerLink, m.answered, &s.serving)
	l.reader.from = rest
	return l, nil
}

// answered takes a pong over.
func (m *member) answered(text []byte) {
	word, ok := parseWord(text)
	if !ok {
		return
	}
	m.said(word, true)
}

// said takes over what the member says of itself: in an answer, or in its own pings.
func (m *member) said(word peerWord, answer bool) {
	s := m.set
	now, hash := s.clock(), s.configHash()
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	if last := m.status.Load(); last == nil || word.number > last.number {
		m.status.Store(&word)
		changed = m.draining != word.draining || last == nil || last.joining != word.joining
		m.draining = word.draining
	}
	if answer {
		m.heard = now
		if m.answers++; !m.alive && m.answers >= answersToLive {
			m.alive, changed = true, true
		} else if !m.alive {
			m.poke()
		}
	}
	if changed {
		s.update(now)
	}
	m.note(m.status.Load(), s.view.Load().epoch, hash, now)
}

// lost takes the member's links down after one of them broke; nil stands for any.
func (m *member) lost(l *link, cause error) {
	s := m.set
	s.mu.Lock()
	links := m.links.Load()
	if links == nil || l != nil && !contains(*links, l) {
		s.mu.Unlock()
		if l != nil {
			l.down(cause)
		}
		return
	}
	m.links.Store(nil)
	m.cause, m.answers, m.tried = cause, 0, true
	if m.alive {
		m.alive = false
		if !s.closed && !errors.Is(cause, context.Canceled) {
			s.Deaths.Add(1)
			s.log.Warn("a peer is gone", "peer", m.name, "cause", cause)
		}
	}
	if !errors.Is(cause, context.Canceled) {
		s.update(s.clock())
	}
	s.mu.Unlock()
	// After the ring changed, so that whoever is told that his hop was not sent finds the next owner.
	for _, l := range *links {
		l.down(cause)
	}
	m.poke()
}

func contains(links []*link, l *link) bool {
	for _, other := range links {
		if other == l {
			return true
		}
	}
	return false
}

func (m *member) notConnected(cause error) {
	s := m.set
	s.mu.Lock()
	defer s.mu.Unlock()
	m.cause = cause
	if !m.tried {
		m.tried = true
		s.update(s.clock())
	}
}
