package peers

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Store is short-lived state of users that moves with their owner. Its methods are safe for concurrent
// use; a value means what its Store says, on any node and at any time: it must not count from this
// process's start.
type Store interface {
	// StoreName is the same on all nodes, at most 60 bytes.
	StoreName() string
	// Take calls yield for what is kept of each key that moves accepts, and forgets it in the same step, so
	// that what comes back meanwhile stays. yield is quick and does not call the Store.
	Take(moves func(key uint64) bool, yield func(key uint64, value int64))
	// Import takes over what another node kept. Where something is kept already, the stricter holds.
	Import(key uint64, value int64)
}

// giftJob is what one change of the ring has this node hand over.
type giftJob struct {
	epoch uint64 // of the ring after it
	gifts []*gift
	after *sections // whose requests must be through before anything is read
	again bool      // not of this change: the peers are not through with it because of this
}

// Bounds of handing over.
const (
	chunkEntries   = 4096 // a frame's keys and values, 64 KiB
	quietWithin    = time.Second
	chunkWithin    = 2 * time.Second
	entryBytes     = 16
	givenPartBytes = 10
)

// The kinds of chunks.
const (
	chunkOfEntries byte = 1 // store's name, then keys and values
	chunkIsLast    byte = 2 // the partitions that are handed over with all that was sent before
)

// give queues a handover, with the lock held. A queue that is full means that handing over has stood still
// through dozens of changes: the new owners will not get it, and begin carefully.
func (s *Set) give(job giftJob) {
	s.pending.Add(1)
	select {
	case s.gifts <- job:
	default:
		s.pending.Add(-1)
		s.FailedGifts.Add(int64(len(job.gifts)))
	}
}

// handOver hands over, one change of the ring after the other.
func (s *Set) handOver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-s.gifts:
			s.deliver(ctx, job)
			s.pending.Add(-1)
		}
	}
}

// deliver sends what this node kept of the partitions that a change took from it to their new owners, then
// tells every other member that it has got all there was for it. What does not arrive is kept, in case the
// ring gives it back.
func (s *Set) deliver(ctx context.Context, job giftJob) {
	if !job.again {
		s.awaitQuiet(ctx, job.after)
	}
	began := time.Now()
	var owners [partitions]*delivery
	list := make([]*delivery, 0, len(job.gifts))
	for i := range job.gifts {
		d := &delivery{set: s, gift: job.gifts[i], links: job.gifts[i].to.links.Load()}
		for _, p := range d.gift.parts {
			owners[p.partition] = d
		}
		list = append(list, d)
	}
	for _, store := range s.stores {
		store.Take(
			func(key uint64) bool { return owners[partitionOf(key)] != nil },
			func(key uint64, value int64) { owners[partitionOf(key)].add(store.StoreName(), key, value) })
		for _, d := range list {
			d.send(store)
		}
	}
	sent, failed := 0, 0
	forgotten := s.forgotten()
	for _, d := range list {
		for i := range d.gift.parts {
			d.gift.parts[i].since = max(d.gift.parts[i].since, forgotten)
		}
		if d.failed = d.failed || !d.sendChunk(lastChunk(job.epoch, job.again, d.gift.parts)); d.failed {
			failed++
			s.keep(d.left())
		}
		sent += d.sent
	}
	s.EntriesSent.Add(int64(sent))
	s.FailedGifts.Add(int64(failed))
	if sent > 0 || failed > 0 {
		s.log.Info("handed over", "entries", sent, "failed", failed, "took", time.Since(began).Round(time.Microsecond))
	}
}

// delivery is what one member gets.
type delivery struct {
	set    *Set
	gift   *gift
	links  *[]*link // to the process that gets all of it; nil without
	chunks [][]byte // of the store that is under way
	sent   int
	failed bool
}

func (d *delivery) add(store string, key uint64, value int64) {
	last := len(d.chunks) - 1
	if last < 0 || len(d.chunks[last]) >= chunkEntries*entryBytes {
		d.chunks = append(d.chunks, beginEntries(store))
		last++
	}
	d.chunks[last] = binary.BigEndian.AppendUint64(d.chunks[last], key)
	d.chunks[last] = binary.BigEndian.AppendUint64(d.chunks[last], uint64(value))
}

// send sends the chunks of one store; those that do not arrive go back into it.
func (d *delivery) send(store Store) {
	for _, chunk := range d.chunks {
		entries := chunk[2+len(store.StoreName()):]
		if d.failed = d.failed || !d.sendChunk(chunk); !d.failed {
			d.sent += len(entries) / entryBytes
			continue
		}
		importEntries(store, entries)
	}
	d.chunks = nil
}

// left gives the partitions that did not arrive. Of what did, there is no knowing whether its new owner lives:
// who ordered before may be forgotten.
func (d *delivery) left() []givenPart {
	if d.sent > 0 {
		now := d.set.wall() + 1 // with this millisecond
		for i := range d.gift.parts {
			d.gift.parts[i].since = now
		}
	}
	return d.gift.parts
}

func importEntries(store Store, entries []byte) {
	for ; len(entries) >= entryBytes; entries = entries[entryBytes:] {
		store.Import(binary.BigEndian.Uint64(entries), int64(binary.BigEndian.Uint64(entries[8:])))
	}
}

// awaitQuiet waits until requests that found their owner to be this node have taken from its budgets: they
// are through within microseconds, unless the machine is very busy.
func (s *Set) awaitQuiet(ctx context.Context, sections *sections) {
	deadline := time.Now().Add(quietWithin)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !sections.quiet() && time.Now().Before(deadline) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sendChunk sends a chunk to the process that got those before it. Another one, over links that were made
// meanwhile, must not take the rest for the whole.
func (d *delivery) sendChunk(chunk []byte) bool {
	if d.links == nil || d.gift.to.links.Load() != d.links {
		return false
	}
	c := (*d.links)[0].do(frameChunk, chunk, d.set.clock().Add(chunkWithin))
	defer releaseCall(c)
	return c.err == nil && c.kind == frameTaken
}

func beginEntries(store string) []byte {
	chunk := make([]byte, 0, 2+len(store)+chunkEntries*entryBytes+entryBytes)
	return append(append(chunk, chunkOfEntries, byte(len(store))), store...)
}

func lastChunk(epoch uint64, again bool, parts []givenPart) []byte {
	if again {
		epoch = 0
	}
	chunk := binary.BigEndian.AppendUint64([]byte{chunkIsLast}, epoch)
	for _, p := range parts {
		chunk = binary.BigEndian.AppendUint16(chunk, uint16(p.partition))
		chunk = binary.BigEndian.AppendUint64(chunk, uint64(p.since))
	}
	return chunk
}

// keep takes partitions back that could not be handed over: they go to whom the ring names next.
func (s *Set) keep(parts []givenPart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.view.Load().with()
	for _, p := range parts {
		s.receive(next, p)
	}
	s.publish(next)
}

// receive opens a partition in a view, or holds it until the ring names this node or another, with the lock
// held. Where this node has begun anew already, what comes late puts that right.
func (s *Set) receive(v *view, p givenPart) {
	switch q := &v.parts[p.partition]; {
	case q.state == partAway:
		s.held[p.partition] = &p.since
	case q.state == partPending, !q.careful.IsZero():
		*q = part{state: partReady, since: p.since}
	default: // two nodes thought that they had it: the later one has forgotten less
		q.since = max(q.since, p.since)
	}
}

// takeOver takes what a peer hands over.
func (s *Set) takeOver(from *member, chunk []byte) error {
	if len(chunk) == 0 {
		return errFrame
	}
	kind, rest := chunk[0], chunk[1:]
	switch kind {
	case chunkOfEntries:
		return s.takeEntries(rest)
	case chunkIsLast:
		return s.takeParts(from, rest)
	}
	return errFrame
}

func (s *Set) takeEntries(rest []byte) error {
	if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
		return errFrame
	}
	name, entries := rest[1:1+int(rest[0])], rest[1+int(rest[0]):]
	if len(entries)%entryBytes != 0 {
		return errFrame
	}
	at := slices.IndexFunc(s.stores, func(store Store) bool { return store.StoreName() == string(name) })
	if at < 0 { // a rule that only the other node's config has
		return nil
	}
	s.EntriesTaken.Add(int64(len(entries) / entryBytes))
	importEntries(s.stores[at], entries)
	return nil
}

// takeParts takes partitions over: those that requests wait for open. It also notes that the peer is
// through with handing over for a ring; 0 says nothing of that.
func (s *Set) takeParts(from *member, list []byte) error {
	if len(list) < 8 || (len(list)-8)%givenPartBytes != 0 {
		return errFrame
	}
	epoch, list := binary.BigEndian.Uint64(list), list[8:]
	parts := make([]givenPart, 0, len(list)/givenPartBytes)
	for ; len(list) > 0; list = list[givenPartBytes:] {
		p := givenPart{partition: int(binary.BigEndian.Uint16(list)), since: int64(binary.BigEndian.Uint64(list[2:]))}
		if p.partition >= partitions || p.since < 0 {
			return errFrame
		}
		parts = append(parts, p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joining { // all is pending, and no ring is known: it is held until one is
		for _, p := range parts {
			s.held[p.partition] = &p.since
		}
	} else if len(parts) > 0 {
		next := s.view.Load().with()
		for _, p := range parts {
			s.receive(next, p)
		}
		s.publish(next)
	}
	if epoch != 0 {
		from.through = epoch
	}
	s.resolve(s.clock())
	return nil
}

// Drain takes this node out of the ring and hands over all that it keeps, as far as ctx and other nodes
// allow. It goes on sending hops and answering those of peers that have not heard of it yet with Moved. It
// may be called again.
func (s *Set) Drain(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	wait := func(done func() bool) error {
		for !done() {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("handing over: %w", ctx.Err())
			}
		}
		return nil
	}
	// What is on its way to this node has to be here before it can be handed over.
	err := wait(func() bool { return !s.view.Load().pending })
	s.mu.Lock()
	s.draining = true
	s.update(s.clock())
	for _, m := range s.members {
		m.poke()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := wait(func() bool { return s.pending.Load() == 0 && s.heardOfDraining() }); err != nil {
		return err
	}
	// A hop may have been sent in the moment in which its sender heard of it.
	return wait(func() bool { return s.clock().UnixNano()-s.lastHop.Load() > int64(lateHops) })
}

// lateHops is for how long no hop has come when none will.
const lateHops = 50 * time.Millisecond

// heardOfDraining reports whether every live peer's ring is this node's, which is without it.
func (s *Set) heardOfDraining() bool {
	epoch := s.view.Load().epoch
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if word := m.status.Load(); m.alive && !m.draining && (word == nil || word.epoch != epoch) {
			m.poke()
			return false
		}
	}
	return true
}
