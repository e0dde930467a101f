package peers

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// Kind says where a key's budgets are.
type Kind uint8

// The kinds of Place.
const (
	Here    Kind = iota // this node owns the key
	Away                // Place.Owner does
	Pending             // this node, but what is known of the key is on its way: see Await
)

// Place is where a key's budgets are.
type Place struct {
	Kind Kind
	// Owner of what is Away; with Arrive: whom the key was handed over to.
	Owner *Owner
	// Careful: the former owner died, so that a budget which is not known here is not known at all.
	Careful bool
	// Since is the time, by the counter's clock in ms, since when this node, and those that handed over to
	// it, remember who ordered. Only with Here.
	Since int64
	epoch uint64
}

// Owner is another edge.
type Owner = member

// Name is the edge's name in the config.
func (m *member) Name() string { return m.name }

// OwnerName is the name of Owner; "" when there is none.
func (p Place) OwnerName() string {
	if p.Owner == nil {
		return ""
	}
	return p.Owner.name
}

// Owns reports whether this node owns a key and knows what there is to know of it. That may change at once:
// Enter decides.
func (s *Set) Owns(key uint64) bool {
	return s.alone || s.view.Load().parts[partitionOf(key)].state == partReady
}

// Since is Place.Since of a key that this node owns.
func (s *Set) Since(key uint64) int64 {
	if s.alone {
		return s.opened
	}
	return s.view.Load().parts[partitionOf(key)].since
}

// Enter gives the place of a key. With Here it also enters a section, which the caller leaves as soon as it
// has taken from the key's budgets. It does not allocate.
func (s *Set) Enter(key uint64) (Place, Section) {
	p := partitionOf(key)
	if s.alone {
		return Place{Since: s.opened}, Section{}
	}
	for {
		v := s.view.Load()
		q := &v.parts[p]
		switch q.state {
		case partAway:
			return Place{Kind: Away, Owner: q.owner, epoch: v.epoch}, Section{}
		case partPending:
			return Place{Kind: Pending, epoch: v.epoch}, Section{}
		}
		n := &v.active.count[p%len(v.active.count)].n
		n.Add(1)
		if s.view.Load() != v { // it may have been given away before we were counted
			n.Add(-1)
			continue
		}
		careful := !q.careful.IsZero() && s.clock().Before(q.careful)
		return Place{Since: q.since, Careful: careful, epoch: v.epoch}, Section{n}
	}
}

// Arrive is Enter for a hop: with Away it is to be told Moved. A key that this node neither owns nor ever
// gave away is Pending, since its sender is likely to know of a change first: after Await it is Here,
// whatever the ring says.
func (s *Set) Arrive(key, epoch uint64) (Place, Section) {
	place, section := s.Enter(key)
	if place.Kind != Away {
		return place, section
	}
	if s.view.Load().parts[partitionOf(key)].given {
		return place, section
	}
	if !s.foreign.has(epoch) {
		place.Kind = Pending
		return place, section
	}
	return s.foreignPlace(), Section{}
}

// foreignPlace is where a key is served that the ring gives to somebody else: here, and carefully as to
// who ordered what.
func (s *Set) foreignPlace() Place {
	s.ForeignServed.Add(1)
	return Place{Since: s.wall() + 1}
}

// Await waits until the key's place is known, or until there is no more use in waiting: handover_wait at
// most. hop is the epoch of the hop that brought the key; 0: none did. It gives what Enter or Arrive would.
func (s *Set) Await(key, hop uint64) (Place, Section) {
	timer := time.NewTimer(s.cfg.HandoverWait + 4*tickEvery) // what is late by then has been given up by tick
	defer timer.Stop()
	for {
		changed := s.view.Load().changed
		var place Place
		var section Section
		if hop == 0 {
			place, section = s.Enter(key)
		} else {
			place, section = s.Arrive(key, hop)
		}
		if place.Kind != Pending {
			return place, section
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		}
		if hop == 0 {
			return place, section
		}
		s.foreign.add(hop)
		return s.foreignPlace(), Section{}
	}
}

// foreignEpochs remembers rings of peers that this node has waited for in vain: their hops are served
// without waiting. It keeps the last few.
type foreignEpochs struct{ list atomic.Pointer[[]uint64] }

const maxForeign = 16

func (f *foreignEpochs) has(epoch uint64) bool {
	list := f.list.Load()
	return list != nil && slices.Contains(*list, epoch)
}

func (f *foreignEpochs) add(epoch uint64) {
	for {
		old := f.list.Load()
		next := []uint64{epoch}
		if old != nil {
			if slices.Contains(*old, epoch) {
				return
			}
			next = append(next, (*old)[:min(len(*old), maxForeign-1)]...)
		}
		if f.list.CompareAndSwap(old, &next) {
			return
		}
	}
}

// Errors of Hop besides ErrNotSent and ErrUnknown. With all but ErrUnknown the request was certainly not
// served.
var (
	// ErrBusy: there is no room for more hops, here or there.
	ErrBusy = errors.New("too many hops are under way")
	// ErrNoOwner: the nodes did not agree within handover_wait on who serves the key.
	ErrNoOwner = errors.New("no node was found that serves this user")
	errMoved   = errors.New("the key was handed over to another node")
)

// Reply is the owner's answer to a hop. Release it after use.
type Reply struct{ c *call }

// Payload is the answer, until Release.
func (r Reply) Payload() []byte { return r.c.answer }

// Release gives the reply's memory back.
func (r Reply) Release() {
	if r.c != nil {
		releaseCall(r.c)
	}
}

// HopHead is the room that a hop's frame needs before its payload, bytes.
const HopHead = hopHeadBytes

// moveRetry is the pause after the second time that a hop was told to go elsewhere: the nodes know of a
// change within milliseconds of each other.
const moveRetry = 2 * time.Millisecond

// Hop brings a request to whoever serves its key, when Enter or Await said that it is not Here. frame is
// the payload after HopHead bytes of room. It is served at most once: it goes on to another node only when
// the one before has certainly not served it, because it had handed the key over or is down. Then the ring
// may as well name this node: with Here the caller serves the request itself, within the section.
func (s *Set) Hop(place Place, key uint64, frame []byte, deadline time.Time) (Place, Section, Reply, error) {
	var section Section
	giveUp := s.clock().Add(s.cfg.HandoverWait)
	for try := 0; ; try++ {
		if place.Kind == Pending {
			place, section = s.Await(key, 0)
		}
		if place.Kind == Here {
			return place, section, Reply{}, nil
		}
		if place.Kind == Pending || try > 0 && s.clock().After(giveUp) {
			return place, section, Reply{}, ErrNoOwner
		}
		appendHopHead(frame[:0], key, place.epoch)
		reply, err := s.send(place.Owner, key, frame, deadline)
		switch {
		case err == nil:
			return place, section, reply, nil
		case errors.Is(err, errMoved):
			if to := s.peer(string(reply.Payload())); to != nil && try == 0 {
				place.Owner = to
				break
			}
			<-time.After(moveRetry)
			place, section = s.Enter(key)
		case errors.Is(err, ErrNotSent) && s.cfg.OwnerAway == OwnerAwayLocal && s.clock().Before(giveUp):
			if try > 0 {
				<-time.After(moveRetry)
			}
			place, section = s.Enter(key) // on the ring without it
		default:
			reply.Release()
			return place, section, Reply{}, err
		}
		reply.Release()
	}
}

// send sends a hop to one node and waits for the answer until the deadline at most. Its reply has to be
// released with an error, too.
func (s *Set) send(to *Owner, key uint64, frame []byte, deadline time.Time) (Reply, error) {
	links := to.links.Load()
	if links == nil {
		return Reply{}, ErrNotSent
	}
	l := (*links)[int(key>>1)%len(*links)]
	c := l.do(frameHop, frame, deadline)
	switch {
	case c.err != nil && errors.Is(c.err, errLinkBusy):
		return Reply{c}, ErrBusy
	case c.err != nil && errors.Is(c.err, ErrNotSent):
		to.lost(l, c.err) // a failed hop says what the next health check would
		return Reply{c}, c.err
	case c.err != nil:
		return Reply{c}, c.err
	case c.kind == frameMoved:
		return Reply{c}, errMoved
	case c.kind == frameBusy:
		return Reply{c}, ErrBusy
	case c.kind != frameServed:
		return Reply{c}, ErrUnknown
	}
	return Reply{c}, nil
}
