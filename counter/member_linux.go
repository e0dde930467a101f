package counter

import (
	"errors"
	"runtime/debug"
	"time"
)

// maxRounds bounds how often a loop reads from one member before it looks at the others.
const maxRounds = 4

// member is a connection of a loop.
type member struct {
	*conn
	loop *loop
	sock *socket
	then func() // tells the loop that the fate of the call is known

	// Of the loop.
	place     place
	readable  bool      // something may have arrived that was not read
	ended     bool      // its client sends no more: after what has arrived comes the end
	hurried   bool      // ends after what has arrived
	broken    bool      // a goroutine it was lent to has panicked
	until     time.Time // parked: when its patience ends, by what it waits for
	lingering bool      // nothing is written any more; what comes is dropped, at most so many bytes:
	drops     int

	news news // what the loop has not looked at yet; guarded by loop.mu
}

// place is where a member is.
type place int

const (
	parked place = iota // waits for its client
	inLog               // waits for the fate of its call
	lent                // is driven by a goroutine for one request
	gone
)

// news is what happened to a member elsewhere.
type news int

const (
	fateKnown news = 1 << iota
	returned       // by the goroutine it was lent to
	hurryUp
	cutOff
	again // it had its rounds, and has more to read
	arrived
)

// hurry implements link.
func (m *member) hurry() { m.loop.post(m, hurryUp) }

// cut implements link.
func (m *member) cut() { m.loop.post(m, cutOff) }

// guard ends a member whose handling panics.
func (l *loop) guard(m *member) {
	if p := recover(); p != nil {
		m.panicked(p, debug.Stack())
		m.endView()
		l.end(m)
	}
}

// fate answers what waited for the log.
func (l *loop) fate(m *member) {
	defer l.guard(m)
	err := m.call.Err()
	if m.awaits(err) {
		l.lend(m, func() { m.answer(err) })
		return
	}
	if m.answer(err); l.deliver(m) {
		l.step(m)
	}
}

// step brings a parked member on, as far as it goes without waiting.
func (l *loop) step(m *member) {
	defer l.guard(m)
	if m.lingering {
		l.drop(m)
		return
	}
	if len(m.sock.unsent) > 0 {
		if err := m.sock.send(); err != nil {
			l.end(m)
			return
		}
		if len(m.sock.unsent) > 0 {
			return // until its client has taken more
		}
	}
	for round := 0; ; round++ {
		m.pipeline()
		m.endView()
		m.count()
		switch {
		case m.stuck != nil || m.demands > 0:
			l.lend(m, m.unstick)
			return
		case m.call.Len() > 0:
			err := l.srv.replica.ProposeThen(m.call, m.then)
			if err == nil {
				m.place = inLog
				return
			}
			m.answer(err)
		case len(m.waiting) > 0:
			m.answer(nil)
		}
		if !l.deliver(m) || !l.refill(m, round) {
			return
		}
	}
}

// refill reads more of what has arrived; false when there is nothing more to be done now.
func (l *loop) refill(m *member, round int) bool {
	switch {
	case m.quit:
		l.linger(m)
		return false
	case !m.readable && m.hurried:
		l.linger(m)
		return false
	case !m.readable:
		l.rest(m)
		return false
	case round >= maxRounds:
		l.post(m, again)
		return false
	}
	err := m.in.Fill()
	m.readable = m.ended || !m.sock.short
	switch {
	case err == nil:
		return true
	case errors.Is(err, errWouldBlock):
		m.readable = false
		return l.refill(m, round)
	}
	m.malformed(err) // only a protocol error writes something
	if !m.quit {
		l.end(m)
		return false
	}
	if l.deliver(m) {
		l.linger(m)
	}
	return false
}

// rest parks a member until its client sends something.
func (l *loop) rest(m *member) {
	m.until = l.now.Add(l.srv.cfg.Limits.IdleTimeout)
	if m.role == stranger && m.strangerUntil.Before(m.until) {
		m.until = m.strangerUntil
	}
}

// deliver writes the replies; false when they could not all be written: then the member stays parked until its
// client has taken more, or is closed.
func (l *loop) deliver(m *member) bool {
	if err := m.out.Flush(); err != nil {
		l.end(m)
		return false
	}
	m.until = l.now.Add(l.srv.cfg.Limits.WriteTimeout) // for what is unsent
	return len(m.sock.unsent) == 0
}

// unstick carries out the request that has to wait, for a goroutine that may.
func (m *member) unstick() {
	m.settle()
	if args := m.stuck; args != nil {
		m.stuck = nil
		m.request(args)
		m.settle()
	}
}

// lend lets a goroutine do what has to wait.
func (l *loop) lend(m *member, work func()) {
	m.place = lent
	go func() { // the connection is among the server's handlers until the loop ends it
		defer l.post(m, returned)
		defer func() {
			if p := recover(); p != nil {
				m.panicked(p, debug.Stack())
				m.endView()
				m.broken = true
			}
			m.mayWait = false
		}()
		m.mayWait = true
		work()
	}()
}

// linger lets the last replies arrive, as handler.linger does.
func (l *loop) linger(m *member) {
	if m.sock.closeWrite() != nil {
		l.end(m)
		return
	}
	m.lingering, m.drops, m.until = true, lingerBytes, l.now.Add(lingerTime)
	l.drop(m)
}

// drop reads what nobody looks at any more.
func (l *loop) drop(m *member) {
	for m.drops > 0 {
		n, err := m.sock.Read(l.scratch[:])
		if errors.Is(err, errWouldBlock) {
			return
		}
		if err != nil {
			break
		}
		m.drops -= n
	}
	l.end(m)
}

// end closes a member's connection.
func (l *loop) end(m *member) {
	if m.place == gone {
		return
	}
	m.place = gone
	if l.members[m.sock.fd] == m {
		l.members[m.sock.fd] = nil
	}
	m.sock.close()
	l.srv.left(m)
}
