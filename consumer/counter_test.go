package consumer_test

import (
	"context"
	"sync"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// fakeCounter keeps holds by the rules of the counter, and can be away.
type fakeCounter struct {
	mu        sync.Mutex
	holds     map[sale.OrderID]sale.HoldState
	forgotten map[sale.OrderID]string // answers RELEASE gives whatever the state
	away      map[int]bool            // shards that do not answer
	lose      int                     // that many replies to RELEASE get lost
	confirms  int
	releases  int
}

func newFakeCounter() *fakeCounter {
	return &fakeCounter{holds: map[sale.OrderID]sale.HoldState{}, forgotten: map[sale.OrderID]string{}, away: map[int]bool{}}
}

func (c *fakeCounter) set(id sale.OrderID, state sale.HoldState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds[id] = state
}

func (c *fakeCounter) state(id sale.OrderID) sale.HoldState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holds[id]
}

func (c *fakeCounter) setAway(shard int, away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away[shard] = away
}

func (c *fakeCounter) loseReplies(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = n
}

func (c *fakeCounter) answerRelease(id sale.OrderID, answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten[id] = answer
}

func (c *fakeCounter) calls() (confirms, releases int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.confirms, c.releases
}

func (c *fakeCounter) Confirm(_ context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirms++
	codes := make([]client.ConfirmCode, len(ids))
	for i, id := range ids {
		codes[i] = c.confirm(id)
	}
	return codes, nil
}

func (c *fakeCounter) confirm(id sale.OrderID) client.ConfirmCode {
	if c.away[id.Shard()] {
		return client.ConfirmUnavailable
	}
	switch c.holds[id] {
	case sale.Held, sale.Confirmed:
		c.holds[id] = sale.Confirmed
		return client.ConfirmConfirmed
	case sale.Expired:
		return client.ConfirmExpired
	case sale.Released:
		return client.ConfirmReleased
	}
	return client.ConfirmUnknown
}

func (c *fakeCounter) Release(_ context.Context, id sale.OrderID, _ string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases++
	if c.away[id.Shard()] {
		return "", client.ErrUnavailable
	}
	answer := c.release(id)
	if c.lose > 0 {
		c.lose--
		return "", client.ErrUnknown
	}
	return answer, nil
}

func (c *fakeCounter) release(id sale.OrderID) string {
	if answer, ok := c.forgotten[id]; ok {
		return answer
	}
	switch c.holds[id] {
	case sale.Confirmed:
		c.holds[id] = sale.Released
		return client.Released
	case sale.Released:
		return client.Already
	case sale.Expired:
		return client.WasExpired
	case sale.Held:
		return client.StillHeld
	}
	return client.UnknownOrder
}
