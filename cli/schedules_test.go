package cli

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// The tests below play the schedules of crashes that PROTOCOL.md, sections 1 to 4 and 7, guards against,
// each from the buyer's press at the edge to the ledger.

func crashed[T any](context.Context, []sale.OrderID) (none T, err error) {
	return none, client.ErrUnknown
}

func TestCoordinatorDiesBetweenTakenAndConfirm(t *testing.T) {
	r := newRig(t)
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
	r.edgeCounter.set(func(c *hookedCounter) { c.confirm = crashed[[]client.ConfirmCode] })
	p := r.press("s", "u1")
	r.want(p, http.StatusServiceUnavailable, "unknown_outcome")
	if p.OrderID == "" || p.Ticket == "" {
		t.Fatalf("no order or ticket: %+v", p)
	}
	r.state(p.OrderID, sale.Unpaid) // the consumer confirmed it
	r.edgeCounter.set(func(c *hookedCounter) { c.confirm = nil })
	again := r.press("s", "u1", "Headgate-Ticket", p.Ticket)
	r.want(again, http.StatusAccepted, "")
	if again.OrderID != p.OrderID {
		t.Errorf("order %s, want %s", again.OrderID, p.OrderID)
	}
	r.settled("s", 1, 9)
}

// Two presses with one key are at work: the first is published, the second is refused.
func TestPublishRefusedWhileAnotherPressGotThrough(t *testing.T) {
	t.Run("its ABORT comes after the CONFIRM", func(t *testing.T) {
		r := newRig(t)
		r.stopConsumer()
		first, second, abort := twoPresses(t, r)
		first.goOn()
		r.want(<-first.told, http.StatusAccepted, "")
		abort.goOn()
		r.want(<-second.told, http.StatusAccepted, "")
		r.startConsumer()
		r.settled("s", 1, 9)
	})
	t.Run("its ABORT comes before the CONFIRM", func(t *testing.T) {
		r := newRig(t)
		r.stopConsumer()
		first, second, abort := twoPresses(t, r)
		abort.goOn()
		if p := <-second.told; p.Status < 400 {
			t.Errorf("the refused press was told %+v", p)
		}
		first.goOn()
		p := <-first.told
		r.want(p, http.StatusServiceUnavailable, "unavailable") // this purchase did not happen
		r.startConsumer()
		r.settled("s", 0, 10)
	})
}

// gate holds a call up until it is opened.
type gate struct {
	arrived chan struct{}
	open    chan struct{}
	once    sync.Once
	told    chan pressed
}

func newGate() *gate {
	return &gate{arrived: make(chan struct{}), open: make(chan struct{}), told: make(chan pressed, 1)}
}

func (g *gate) wait() {
	g.once.Do(func() { close(g.arrived) })
	<-g.open
}

func (g *gate) goOn() { close(g.open) }

// twoPresses brings one press before its CONFIRM and another of the same order before its ABORT.
func twoPresses(t *testing.T, r *rig) (first, second, abort *gate) {
	t.Helper()
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
	r.publishing.Script(queuetest.Pass, queuetest.Refuse)
	first, second, abort = newGate(), newGate(), newGate()
	r.edgeCounter.set(func(c *hookedCounter) {
		c.confirm = func(ctx context.Context, ids []sale.OrderID) ([]client.ConfirmCode, error) {
			first.wait()
			return c.Client.Confirm(ctx, ids...)
		}
		c.abort = func(ctx context.Context, id sale.OrderID, reason string) (string, error) {
			abort.wait()
			return c.Client.Abort(ctx, id, reason)
		}
	})
	go func() { first.told <- r.press("s", "u1", "Idempotency-Key", "k") }()
	<-first.arrived
	go func() { second.told <- r.press("s", "u1", "Idempotency-Key", "k") }()
	select {
	case <-abort.arrived:
	case p := <-second.told:
		t.Fatalf("the second press was told %+v", p)
	}
	return first, second, abort
}

func TestPublishUnknownThenRetriedWithTheTicketAfterSellOut(t *testing.T) {
	for name, step := range map[string]queuetest.Step{
		"nothing was stored": queuetest.UnknownLost, "it was stored": queuetest.UnknownStored, "it was stored twice": queuetest.UnknownDuplicate,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stopConsumer()
			r.open(NewSale{ID: "s", Stock: 1, LimitPerUser: 1})
			r.publishing.Script(step)
			p := r.press("s", "u1")
			r.want(p, http.StatusServiceUnavailable, "unknown_outcome")
			r.want(r.press("s", "u2"), http.StatusConflict, "sold_out")
			again := r.press("s", "u1", "Headgate-Ticket", p.Ticket)
			r.want(again, http.StatusAccepted, "")
			if again.OrderID != p.OrderID {
				t.Errorf("order %s, want %s", again.OrderID, p.OrderID)
			}
			r.startConsumer()
			r.state(p.OrderID, sale.Unpaid)
			r.settled("s", 1, 0)
		})
	}
}

func TestHoldExpiredBeforeDelivery(t *testing.T) {
	r := newRig(t)
	r.stopConsumer()
	r.open(NewSale{ID: "s", Stock: 1, LimitPerUser: 1, HoldFor: 1000})
	r.edgeCounter.set(func(c *hookedCounter) { c.confirm = crashed[[]client.ConfirmCode] })
	late := r.press("s", "u1")
	r.want(late, http.StatusServiceUnavailable, "unknown_outcome")
	r.hold(late.OrderID, sale.Expired)
	r.edgeCounter.set(func(c *hookedCounter) { c.confirm = nil })
	var p pressed
	servicetest.Eventually(t, 30*time.Second, "the unit is for sale again", func() bool {
		p = r.press("s", "u2")
		return p.Status == http.StatusAccepted
	})
	r.startConsumer()
	r.state(late.OrderID, sale.OrderExpired)
	r.state(p.OrderID, sale.Unpaid)
	r.settled("s", 1, 0)
}

// crashingLedger dies before or after the transaction of a batch.
type crashingLedger struct {
	*store.Store
	crash func()
	after bool
}

func (l *crashingLedger) WriteOrders(ctx context.Context, batch []store.Accepted) (store.WriteReport, error) {
	if l.after {
		if report, err := l.Store.WriteOrders(ctx, batch); err != nil {
			return report, err
		}
	}
	l.crash()
	<-ctx.Done()
	return store.WriteReport{}, ctx.Err()
}

func TestConsumerCrashesAtEachPointOfItsBatch(t *testing.T) {
	for name, start := range map[string]func(r *rig, crash func()){
		"before CONFIRM": func(r *rig, crash func()) {
			r.consumerCounter.set(func(c *hookedCounter) {
				c.confirm = func(ctx context.Context, _ []sale.OrderID) ([]client.ConfirmCode, error) {
					crash()
					<-ctx.Done()
					return nil, ctx.Err()
				}
			})
			r.startConsumer()
		},
		"after CONFIRM, before the transaction": func(r *rig, crash func()) {
			r.startConsumer(consumer.WithLedger(&crashingLedger{Store: r.ledger, crash: crash}))
		},
		"after the commit, before the ack": func(r *rig, crash func()) {
			r.startConsumer(consumer.WithLedger(&crashingLedger{Store: r.ledger, crash: crash, after: true}))
		},
		"the ack is lost": func(r *rig, crash func()) {
			r.consuming.FailSettling(errors.New("connection lost"))
			r.startConsumer()
			crash()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stopConsumer()
			r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
			p := r.press("s", "u1")
			r.want(p, http.StatusAccepted, "")
			dies := newGate()
			dies.goOn()
			start(r, dies.wait)
			<-dies.arrived
			r.stopConsumer()
			r.consumerCounter.set(func(c *hookedCounter) { c.confirm = nil })
			r.startConsumer()
			r.state(p.OrderID, sale.Unpaid)
			r.settled("s", 1, 9)
		})
	}
}

func TestRedelivery(t *testing.T) {
	r := newRig(t)
	r.stopConsumer()
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
	r.publishing.Script(queuetest.UnknownDuplicate)
	p := r.press("s", "u1", "Idempotency-Key", "k")
	r.want(p, http.StatusServiceUnavailable, "unknown_outcome")
	r.want(r.press("s", "u1", "Idempotency-Key", "k"), http.StatusAccepted, "") // a third message of the order
	lost := errors.New("connection lost")
	r.consuming.FailSettling(lost, lost)
	r.startConsumer()
	r.state(p.OrderID, sale.Unpaid)
	r.settled("s", 1, 9)
}

// A slot is given twice only when somebody releases a unit behind the ledger's back.
func TestSlotClash(t *testing.T) {
	r := newRig(t)
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
	first := r.press("s", "u1")
	r.want(first, http.StatusAccepted, "")
	r.state(first.OrderID, sale.Unpaid)
	if word, err := r.client.Release(t.Context(), r.id(first.OrderID), "behind the ledger's back"); err != nil || word != client.Released {
		t.Fatalf("RELEASE: %s, %v", word, err)
	}
	second := r.press("s", "u1")
	r.want(second, http.StatusAccepted, "")
	r.state(second.OrderID, sale.Rejected)
	r.hold(second.OrderID, sale.Released) // the outbox gave the unit back
	r.state(first.OrderID, sale.Unpaid)   // the first one stands
	totals, err := r.ledger.SaleTotals(t.Context(), "s")
	if err != nil || totals.Sold != 1 || totals.ActiveUnits != 1 {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

func TestReleaseLost(t *testing.T) {
	r := newRig(t)
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1})
	var tries atomic.Int32
	r.consumerCounter.set(func(c *hookedCounter) {
		c.release = func(ctx context.Context, id sale.OrderID, reason string) (string, error) {
			switch tries.Add(1) {
			case 1: // it never arrives
				return "", client.ErrUnavailable
			case 2: // it is done, and the answer is lost
				if _, err := c.Client.Release(ctx, id, reason); err != nil {
					return "", err
				}
				return "", client.ErrUnknown
			}
			return c.Client.Release(ctx, id, reason)
		}
	})
	p := r.press("s", "u1")
	r.want(p, http.StatusAccepted, "")
	r.state(p.OrderID, sale.Unpaid)
	if c := r.request(http.MethodPost, "/api/orders/"+p.OrderID+"/cancel", "u1", `{}`); c.Status != http.StatusOK {
		t.Fatalf("cancelling: %+v", c)
	}
	r.state(p.OrderID, sale.Cancelled)
	r.settled("s", 0, 10)
	if tries.Load() < 3 {
		t.Errorf("RELEASE was sent %d times", tries.Load())
	}
	r.want(r.press("s", "u1"), http.StatusAccepted, "") // the unit, and the buyer's slot, are free
}

func TestCounterRestartedWithAnOlderClock(t *testing.T) {
	r := newRig(t)
	r.open(NewSale{ID: "s", Stock: 10, LimitPerUser: 1, OpensAt: time.Now().Add(-2 * time.Hour).UnixMilli()})
	first := r.press("s", "u1")
	r.want(first, http.StatusAccepted, "")
	r.stopCounter()
	r.startCounter(counter.WithClock(func() time.Time { return time.Now().Add(-30 * time.Minute) }))
	var second pressed
	servicetest.Eventually(t, 30*time.Second, "the counter sells again", func() bool {
		second = r.press("s", "u2")
		return second.Status == http.StatusAccepted
	})
	if r.id(second.OrderID) <= r.id(first.OrderID) {
		t.Errorf("order %s after %s: ids went back with the clock", second.OrderID, first.OrderID)
	}
	r.want(r.press("s", "u1"), http.StatusConflict, "already_ordered")
	r.settled("s", 2, 8)
}

func TestOutageLongerThanTheHoldTime(t *testing.T) {
	r := newRig(t)
	r.stopConsumer()
	r.open(NewSale{ID: "s", Stock: 1, LimitPerUser: 1, HoldFor: 20_000})
	r.publishing.Script(queuetest.UnknownLost)
	p := r.press("s", "u1")
	r.want(p, http.StatusServiceUnavailable, "unknown_outcome")
	r.stopCounter()
	// It was away for ten minutes, by the clock on the wall.
	r.startCounter(counter.WithClock(func() time.Time { return time.Now().Add(10 * time.Minute) }))
	var again pressed
	servicetest.Eventually(t, 30*time.Second, "the retry is taken", func() bool {
		again = r.press("s", "u1", "Headgate-Ticket", p.Ticket)
		return again.Status == http.StatusAccepted
	})
	if again.OrderID != p.OrderID {
		t.Errorf("order %s, want %s: the outage expired the hold", again.OrderID, p.OrderID)
	}
	r.startConsumer()
	r.state(p.OrderID, sale.Unpaid)
	r.settled("s", 1, 0)
}
