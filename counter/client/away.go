package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// A mark stands for one shard of one sale that could not decide over a reservation: the shard does not
// answer, or it is empty and cannot learn whether another has units. Until it is over, buyers of that
// shard are told so without asking; then one of them asks for all. Sales of one shard have no marks.
const (
	firstMark = 500 * time.Millisecond
	maxMark   = 8 * time.Second
	maxMarks  = 10_000 // sales times shards; beyond it all are dropped and learned again
)

// AwayError says that a sale's shard did not decide a moment ago. Nothing was sent. It is ErrUnavailable.
type AwayError struct {
	Sale, Shard string
	RetryAfter  time.Duration // until it is asked again; above 0
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("shard %s did not decide for sale %s a moment ago, and is asked again in %s", e.Shard, e.Sale, e.RetryAfter)
}

// Is makes it an ErrUnavailable.
func (e *AwayError) Is(target error) bool { return target == ErrUnavailable }

type markKey struct{ sale, shard string }

type mark struct {
	pause   time.Duration // doubles with each failure, up to maxMark
	until   time.Time
	probing bool // somebody asks for all
}

// marks is safe for concurrent use.
type marks struct {
	mu  sync.Mutex
	set map[markKey]*mark
	now func() time.Time
}

// guard asks a shard unless it is marked, and notes what came of it. A caller who leaves before there is an
// answer has learned nothing about the shard.
func (m *marks) guard(ctx context.Context, sale, shard string, ask func() (rueidis.RedisMessage, error)) (rueidis.RedisMessage, error) {
	if err := m.pass(sale, shard); err != nil {
		return rueidis.RedisMessage{}, err
	}
	message, err := ask()
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		m.left(sale, shard)
	} else {
		m.done(sale, shard, err)
	}
	return message, err
}

// pass is nil when the shard may be asked. Whoever got through calls done with the outcome, or left.
func (m *marks) pass(sale, shard string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.set[markKey{sale, shard}]
	if k == nil {
		return nil
	}
	left := k.until.Sub(m.now())
	if left <= 0 && !k.probing {
		k.probing = true
		return nil
	}
	if left <= 0 {
		left = k.pause
	}
	return &AwayError{Sale: sale, Shard: shard, RetryAfter: left}
}

// done notes what came of asking.
func (m *marks) done(sale, shard string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := markKey{sale, shard}
	k := m.set[key]
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknown) {
		delete(m.set, key) // any other answer is a decision
		return
	}
	now := m.now()
	switch {
	case k == nil:
		if m.set == nil || len(m.set) >= maxMarks {
			m.set = make(map[markKey]*mark)
		}
		m.set[key] = &mark{pause: firstMark, until: now.Add(firstMark)}
	case k.probing:
		k.probing, k.pause = false, min(2*k.pause, maxMark)
		k.until = now.Add(k.pause)
	} // else one that was under way when the mark was set
}

// left lets another one ask in the place of one who left without an answer.
func (m *marks) left(sale, shard string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.set[markKey{sale, shard}]; k != nil {
		k.probing = false
	}
}

// heard lets the next buyer of each marked shard of the sale ask at once: every shard has answered again.
func (m *marks) heard(sale string, shards []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.set) == 0 {
		return
	}
	now := m.now()
	for _, shard := range shards {
		if k := m.set[markKey{sale, shard}]; k != nil && k.until.After(now) {
			k.until = now
		}
	}
}
