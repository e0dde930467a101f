package rehearse

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// Broken is a fault as it was carried out. Times are since the start.
type Broken struct {
	Fault
	Began   time.Duration `json:"began"`   // when it was about to be carried out
	Mending time.Duration `json:"mending"` // when the part was told to go on, or started again
	Mended  time.Duration `json:"mended"`  // when that was done: the part says that it is ready
	Error   string        `json:"error,omitempty"`

	// What probes met meanwhile; see heal.
	Probes       int           `json:"probes"`
	ProbesFailed int           `json:"probes_failed"`
	YesAgain     time.Duration `json:"yes_again"`    // from its beginning to the first yes after the last probe that failed
	LedgerAgain  time.Duration `json:"ledger_again"` // from its beginning to the first order in the ledger after the last that was slow
	Healed       bool          `json:"healed"`       // both were seen
}

// actor does something with a member.
type actor interface {
	Do(ctx context.Context, member, action string) error
}

// breaker carries out planned faults, those of each lane one after the other, and always heals them.
type breaker struct {
	actor  actor
	start  time.Time
	groups map[string]chan struct{} // a place for one, of members that must not be broken together
	tell   func(what string)

	mu     sync.Mutex
	broken []Broken
	now    []string // what is broken at the moment
}

func newBreaker(a actor, p *Plan, members []Member, start time.Time, tell func(string)) *breaker {
	b := &breaker{actor: a, start: start, groups: map[string]chan struct{}{}, tell: tell}
	byGroup := map[string]chan struct{}{}
	for _, m := range members {
		group := m.Name
		if !p.Spec.SameShard {
			group = m.group()
		}
		if byGroup[group] == nil {
			byGroup[group] = make(chan struct{}, 1)
		}
		b.groups[m.Name] = byGroup[group]
	}
	return b
}

// run carries out the plan and returns when the last fault is mended. When ctx ends no fault begins any
// more, and those at work are mended at once.
func (b *breaker) run(ctx context.Context, faults []Fault) []Broken {
	lanes := map[int][]Fault{}
	for _, f := range faults {
		lanes[f.Lane] = append(lanes[f.Lane], f)
	}
	var all sync.WaitGroup
	for _, lane := range lanes {
		all.Go(func() {
			for _, f := range lane {
				if !b.until(ctx, f.At) {
					return
				}
				b.one(ctx, f)
			}
		})
	}
	all.Wait()
	slices.SortFunc(b.broken, func(x, y Broken) int { return int(x.Began - y.Began) })
	return b.broken
}

// until waits for a moment; false when ctx ends first.
func (b *breaker) until(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(at - time.Since(b.start))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// undo is the action that mends a fault.
func (f *Fault) undo() string {
	switch f.Kind {
	case Kill:
		return "start"
	case Pause:
		return "resume"
	case Cut:
		return "heal"
	case Alarm:
		return "calm"
	}
	return "" // a restart mends itself
}

// mendTries bounds how often a part is told to go on.
const mendTries = 3

func (b *breaker) one(ctx context.Context, f Fault) {
	group := b.groups[f.Member]
	select {
	case group <- struct{}{}:
		defer func() { <-group }()
	case <-ctx.Done():
		return
	}
	b.say(f, true)
	defer b.say(f, false)
	done := Broken{Fault: f, Began: time.Since(b.start)}
	// What was begun is mended whatever happens to ctx.
	always := context.WithoutCancel(ctx)
	err := b.actor.Do(always, f.Member, string(f.Kind))
	if err == nil {
		b.until(ctx, time.Since(b.start)+f.For)
	}
	done.Mending = time.Since(b.start)
	if undo := f.undo(); undo != "" {
		// Also after an error: it may have happened all the same.
		mending := b.actor.Do(always, f.Member, undo)
		for try := 1; mending != nil && try < mendTries && err == nil; try++ {
			mending = b.actor.Do(always, f.Member, undo)
		}
		if err == nil {
			err = mending
		} else if mending != nil {
			err = errors.Join(err, mending)
		}
	}
	done.Mended = time.Since(b.start)
	if f.Kind == Restart {
		done.Mending = done.Began
	}
	if err != nil {
		done.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	b.mu.Lock()
	b.broken = append(b.broken, done)
	b.mu.Unlock()
}

// say tells what is broken at the moment.
func (b *breaker) say(f Fault, begins bool) {
	what := string(f.Kind) + " " + f.Member
	b.mu.Lock()
	if begins {
		b.now = append(b.now, what)
	} else if i := slices.Index(b.now, what); i >= 0 {
		b.now = slices.Delete(b.now, i, i+1)
	}
	text := strings.Join(b.now, ", ")
	b.mu.Unlock()
	b.tell(text)
}
