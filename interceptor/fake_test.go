package interceptor

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// fakeClock is moved by hand.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.UnixMilli(1_900_000_000_000)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeCounter is a counter of one shard in memory, with switches for what may go wrong.
type fakeCounter struct {
	clock *fakeClock

	mu       sync.Mutex
	sales    map[string]*sale.Info
	holds    map[sale.OrderID]*client.Hold
	next     sale.OrderID
	rules    []client.Rule
	away     error                                 // answered to everything
	onCall   func(command string, id sale.OrderID) // called without the lock
	failOnce map[string]error                      // by command
	failing  map[string]error                      // by command
	reserves int
	lists    int
}

func newFakeCounter(clock *fakeClock) *fakeCounter {
	return &fakeCounter{clock: clock, sales: map[string]*sale.Info{}, holds: map[sale.OrderID]*client.Hold{}, next: 4096, failOnce: map[string]error{}, failing: map[string]error{}}
}

// open puts a sale on, open from now on.
func (f *fakeCounter) open(id string, stock, limit int64) {
	f.change(func() {
		f.sales[id] = &sale.Info{ID: id, Revision: 1, Stock: stock, Alloc: stock, Available: stock, Limit: limit,
			OpensAt: f.clock.Now().UnixMilli()}
	})
}

func (f *fakeCounter) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fakeCounter) enter(command string, id sale.OrderID) error {
	f.mu.Lock()
	call, away, once := f.onCall, f.away, cmp.Or(f.failOnce[command], f.failing[command])
	delete(f.failOnce, command)
	f.mu.Unlock()
	if call != nil {
		call(command, id)
	}
	if away != nil {
		return away
	}
	return once
}

func (f *fakeCounter) Reserve(_ context.Context, saleID, user string, quantity int64, key string) (client.Reservation, error) {
	if err := f.enter("RESERVE", 0); err != nil {
		return client.Reservation{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reserves++
	s := f.sales[saleID]
	if s == nil {
		return client.Reservation{Code: client.CodeNoSale}, nil
	}
	var live, slot int64 = 0, 1
	for _, h := range f.holds {
		if h.User != user || h.Sale != saleID || !h.State.Live() {
			continue
		}
		if h.Key == key {
			return client.Reservation{Code: client.CodeAlready, Order: h.Order, State: h.State, Quantity: h.Quantity, Slot: h.Slot, ExpiresAt: h.ExpiresAt}, nil
		}
		live += h.Quantity
		slot++
	}
	now := f.clock.Now().UnixMilli()
	switch {
	case s.Paused:
		return client.Reservation{Code: client.CodePaused}, nil
	case now < s.OpensAt:
		return client.Reservation{Code: client.CodeNotOpen, Detail: s.OpensAt}, nil
	case s.EndsAt != 0 && now >= s.EndsAt:
		return client.Reservation{Code: client.CodeEnded}, nil
	case s.Limit > 0 && live+quantity > s.Limit:
		return client.Reservation{Code: client.CodeLimit, Detail: s.Limit - live}, nil
	case s.Available == 0:
		return client.Reservation{Code: client.CodeSoldOut, Detail: s.Held}, nil
	case s.Available < quantity:
		return client.Reservation{Code: client.CodeInsufficient, Detail: s.Available}, nil
	}
	f.next += 1
	h := &client.Hold{Binding: sale.Binding{Order: f.next, Sale: saleID, User: user, Quantity: quantity, Slot: slot},
		State: sale.Held, Key: key, ExpiresAt: now + 30_000}
	f.holds[h.Order] = h
	s.Available -= quantity
	s.Held += quantity
	return client.Reservation{Code: client.CodeReserved, Order: h.Order, State: h.State, Quantity: quantity, Slot: slot, ExpiresAt: h.ExpiresAt}, nil
}

func (f *fakeCounter) Order(_ context.Context, id sale.OrderID) (client.Hold, error) {
	if err := f.enter("ORDER", id); err != nil {
		return client.Hold{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.holds[id]; h != nil {
		return *h, nil
	}
	return client.Hold{}, client.ErrNoOrder
}

func (f *fakeCounter) Confirm(_ context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error) {
	codes := make([]client.ConfirmCode, 0, len(ids))
	for _, id := range ids {
		if err := f.enter("CONFIRM", id); err != nil {
			return nil, err
		}
		f.mu.Lock()
		h := f.holds[id]
		if h != nil && h.State == sale.Held {
			f.settle(h, sale.Confirmed)
		}
		f.mu.Unlock()
		switch {
		case h == nil:
			codes = append(codes, client.ConfirmUnknown)
		default:
			codes = append(codes, client.ConfirmCode(h.State.String()))
		}
	}
	return codes, nil
}

func (f *fakeCounter) Abort(_ context.Context, id sale.OrderID, _ string) (string, error) {
	if err := f.enter("ABORT", id); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.holds[id]
	if h == nil {
		return client.UnknownOrder, nil
	}
	if h.State == sale.Held {
		f.settle(h, sale.Released)
	}
	return h.State.String(), nil
}

// settle ends a hold, with the lock held.
func (f *fakeCounter) settle(h *client.Hold, state sale.HoldState) {
	s := f.sales[h.Sale]
	s.Held -= h.Quantity
	if state == sale.Confirmed {
		s.Confirmed += h.Quantity
	} else {
		s.Available += h.Quantity
	}
	h.State = state
}

func (f *fakeCounter) SaleList(context.Context) ([]sale.Info, error) {
	if err := f.enter("SALE.LIST", 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	var list []sale.Info
	for _, id := range slices.Sorted(maps.Keys(f.sales)) {
		info := *f.sales[id]
		info.Now = f.clock.Now().UnixMilli()
		list = append(list, info)
	}
	return list, nil
}

func (f *fakeCounter) Rules(_ context.Context, since int64) (client.Rules, error) {
	if err := f.enter("RULES", 0); err != nil {
		return client.Rules{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := client.Rules{Full: since == 0, Index: int64(len(f.rules)), Now: f.clock.Now().UnixMilli()}
	for i, r := range f.rules {
		changed := slices.ContainsFunc(f.rules[i+1:], func(later client.Rule) bool { return later.Kind == r.Kind && later.Value == r.Value })
		if r.Index > since && !changed && !(answer.Full && r.Removed) {
			answer.Changes = append(answer.Changes, r)
		}
	}
	return answer, nil
}

// rule adds a ban or a revocation.
func (f *fakeCounter) rule(r client.Rule) {
	f.change(func() {
		r.Index = int64(len(f.rules)) + 1
		f.rules = append(f.rules, r)
	})
}

// reserved counts the calls of RESERVE.
func (f *fakeCounter) reserved() (n int) {
	f.change(func() { n = f.reserves })
	return n
}

// confirmed counts confirmed orders.
func (f *fakeCounter) confirmed() (orders int) {
	f.change(func() {
		for _, h := range f.holds {
			if h.State == sale.Confirmed {
				orders++
			}
		}
	})
	return orders
}
