// Package countertest is a counter for tests: the real state machine behind the methods of
// counter/client, without a log, a wire or a clock of its own, and with faults on demand.
package countertest

import (
	"context"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// Counter is one shard "s1". Its methods are safe for concurrent use.
type Counter struct {
	mu     sync.Mutex
	state  *machine.State
	wall   int64
	served int64
	fault  error
	after  int // commands that still succeed before fault shows; -1: fault shows at once
	calls  map[string]int
}

// New makes an empty counter whose wall clock stands at now.
func New(now time.Time) *Counter {
	return &Counter{state: machine.New(machine.Options{Shard: "s1"}), wall: now.UnixMilli(), after: -1, calls: map[string]int{}}
}

// Fail makes every call fail with err; nil mends it.
func (c *Counter) Fail(err error) { c.FailAfter(-1, err) }

// FailAfter lets n more changes through before every call fails.
func (c *Counter) FailAfter(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.after = err, n
}

// Lose forgets everything, as a wiped data folder does.
func (c *Counter) Lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = machine.New(machine.Options{Shard: "s1"})
}

// Advance moves both clocks on.
func (c *Counter) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d.Milliseconds()
	c.served += d.Milliseconds()
}

// Calls is how often a method was called.
func (c *Counter) Calls(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

// Close does nothing.
func (c *Counter) Close() {}

// read runs fn on the state, unless a fault is to show.
func (c *Counter) read(method string, fn func(*machine.State)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[method]++
	if c.fault != nil && c.after < 0 {
		return c.fault
	}
	fn(c.state)
	return nil
}

// apply carries out one command.
func (c *Counter) apply(cmd machine.Command) (machine.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[cmd.Kind.String()]++
	if c.fault != nil {
		if c.after <= 0 {
			c.after = -1
			return machine.Result{}, c.fault
		}
		c.after--
	}
	r := c.state.Apply(&machine.Entry{Wall: c.wall, Served: c.served, Commands: []machine.Command{cmd}}, nil)[0]
	switch r.Code {
	case machine.CodeConflict:
		return r, &client.ConflictError{Revision: r.Revision}
	case machine.CodeErr:
		return r, &client.RequestError{Field: r.Field, Reason: r.Reason}
	case machine.CodeBusy:
		return r, client.ErrBusy
	case machine.CodeNoSale:
		if cmd.Kind != machine.Reserve {
			return r, client.ErrNoSale
		}
	}
	return r, nil
}

func (c *Counter) run(cmd machine.Command) error {
	_, err := c.apply(cmd)
	return err
}

// Reserve takes units and gives the hold.
func (c *Counter) Reserve(_ context.Context, saleID, user string, quantity int64, key string) (client.Reservation, error) {
	r, err := c.apply(machine.Command{Kind: machine.Reserve, Sale: saleID, User: user, Quantity: quantity, Key: key})
	return client.Reservation{Code: r.Code.String(), Order: r.Order, State: r.State, Quantity: r.Quantity, Slot: r.Slot, ExpiresAt: r.Expires, Detail: r.Detail}, err
}

// Confirm confirms one hold.
func (c *Counter) Confirm(_ context.Context, id sale.OrderID) (string, error) {
	r, err := c.apply(machine.Command{Kind: machine.Confirm, Order: id})
	return r.Code.String(), err
}

// Release gives the units of a confirmed order back.
func (c *Counter) Release(_ context.Context, id sale.OrderID, reason string) (string, error) {
	r, err := c.apply(machine.Command{Kind: machine.Release, Order: id, Reason: reason})
	return r.Code.String(), err
}

// Order looks one id up.
func (c *Counter) Order(_ context.Context, id sale.OrderID) (client.Hold, error) {
	var hold machine.Hold
	var found bool
	if err := c.read("Order", func(s *machine.State) { hold, found = s.Order(id) }); err != nil {
		return client.Hold{}, err
	}
	if !found {
		return client.Hold{}, client.ErrNoOrder
	}
	return holdOf(hold), nil
}

func holdOf(h machine.Hold) client.Hold {
	return client.Hold{Binding: h.Binding, State: h.State, Key: h.Key, ReservedAt: h.ReservedAt, ExpiresAt: h.ExpiresAt, ChangedAt: h.ChangedAt, Reason: h.Reason}
}

// Holds is one page of a sale's holds.
func (c *Counter) Holds(_ context.Context, saleID string, state sale.HoldState, after sale.OrderID, limit int) ([]client.Hold, error) {
	var page []client.Hold
	var found bool
	err := c.read("Holds", func(s *machine.State) {
		for more := true; more; {
			var holds []machine.Hold
			holds, after, found = s.Holds(saleID, state, after, limit-len(page))
			for _, h := range holds {
				page = append(page, holdOf(h))
			}
			more = found && after != 0 && len(page) < limit
		}
	})
	if err == nil && !found {
		err = client.ErrNoSale
	}
	return page, err
}

// SaleInfo is a sale's state.
func (c *Counter) SaleInfo(_ context.Context, saleID string) (sale.Info, error) {
	var info sale.Info
	var found bool
	err := c.read("SaleInfo", func(s *machine.State) { info, found = s.Info(saleID, c.wall) })
	if err == nil && !found {
		err = client.ErrNoSale
	}
	return info, err
}

// SaleList is the state of every sale.
func (c *Counter) SaleList(context.Context) (list []sale.Info, err error) {
	err = c.read("SaleList", func(s *machine.State) { list = s.List(c.wall) })
	return list, err
}

// Collect is what the shard tells of a sale to whoever repairs.
func (c *Counter) Collect(_ context.Context, _, saleID string) (row client.Collected, err error) {
	var found bool
	err = c.read("Collect", func(s *machine.State) { row, found = s.Collect(saleID) })
	if err == nil && !found {
		err = client.ErrNoSale
	}
	return row, err
}

// RestoreShard rebuilds a sale from SALE.RESTORE's JSON.
func (c *Counter) RestoreShard(_ context.Context, _ string, text []byte) error {
	restore, err := machine.ParseRestore(text)
	if err != nil {
		return &client.RequestError{Field: "json", Reason: err.Error()}
	}
	return c.run(machine.Command{Kind: machine.RestoreSale, Restore: restore})
}

// OpenSale makes a sale known, paused.
func (c *Counter) OpenSale(_ context.Context, terms sale.Terms) error {
	return c.run(machine.Command{Kind: machine.OpenSale, Terms: &terms})
}

// PauseSale stops selling.
func (c *Counter) PauseSale(_ context.Context, id string, revision int64) error {
	return c.run(machine.Command{Kind: machine.PauseSale, Sale: id, Revision: revision})
}

// ResumeSale sells again.
func (c *Counter) ResumeSale(_ context.Context, id string, revision int64) error {
	return c.run(machine.Command{Kind: machine.ResumeSale, Sale: id, Revision: revision})
}

// CloseSale ends a sale.
func (c *Counter) CloseSale(_ context.Context, id string, revision int64) error {
	return c.run(machine.Command{Kind: machine.CloseSale, Sale: id, Revision: revision})
}

// ForgetSale keeps a sale's totals only.
func (c *Counter) ForgetSale(_ context.Context, id string, revision int64) error {
	return c.run(machine.Command{Kind: machine.ForgetSale, Sale: id, Revision: revision})
}

// SetStock changes a sale's stock.
func (c *Counter) SetStock(_ context.Context, id string, revision, total int64) error {
	return c.run(machine.Command{Kind: machine.SetStock, Sale: id, Revision: revision, Total: total})
}

// Audit gives the terms of a sale.
func (c *Counter) Audit(_ context.Context, saleID string) (client.Audit, error) {
	var a machine.Audit
	var found bool
	err := c.read("Audit", func(s *machine.State) { a, found = s.Audit(saleID, c.wall) })
	if err == nil && !found {
		err = client.ErrNoSale
	}
	if err != nil {
		return client.Audit{}, err
	}
	out := client.Audit{Sale: saleID, Holds: a.Violation == "", Revision: a.Revision, Total: client.AuditTerms{
		Stock: a.Stock, Alloc: a.Alloc, Taken: a.Taken, Given: a.Given, Scheduled: a.Scheduled, Available: a.Available,
		Held: a.Held, Confirmed: a.Confirmed, Debt: a.Debt, HeldOrders: a.HeldOrders, ConfirmedOrders: a.ConfirmedOrders,
	}}
	if a.Violation != "" {
		out.Problems = []string{a.Violation}
	}
	return out, nil
}

// Ban refuses a user or an address.
func (c *Counter) Ban(_ context.Context, kind, value string, until int64, reason string) error {
	rule, err := machine.ParseRuleKind(kind)
	if err != nil {
		return err
	}
	return c.run(machine.Command{Kind: machine.Ban, Rule: rule, Value: value, Until: until, Reason: reason})
}

// Unban takes a ban back.
func (c *Counter) Unban(_ context.Context, kind, value string) error {
	rule, err := machine.ParseRuleKind(kind)
	if err != nil {
		return err
	}
	return c.run(machine.Command{Kind: machine.Unban, Rule: rule, Value: value})
}

// Revoke voids a user's tokens.
func (c *Counter) Revoke(_ context.Context, user string, before int64) error {
	return c.run(machine.Command{Kind: machine.Revoke, User: user, Before: before})
}

// Rules lists bans and revocations.
func (c *Counter) Rules(_ context.Context, since int64) (client.Rules, error) {
	var rules client.Rules
	err := c.read("Rules", func(s *machine.State) {
		changes := s.Rules(since)
		rules = client.Rules{Full: changes.Full, Index: changes.Index, Now: c.wall}
		for _, r := range changes.Changes {
			rules.Changes = append(rules.Changes, client.Rule{
				Index: r.Index, Kind: r.Kind.String(), Value: r.Value, Until: r.Until, Reason: r.Reason, Removed: r.Removed, Before: r.Before,
			})
		}
	})
	return rules, err
}
