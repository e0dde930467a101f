package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/consumer"
	"headgate.example/lib/auth"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const within = 30 * time.Second

// world is a queue, a ledger and a counter around consumers that a test starts and stops.
type world struct {
	t       testing.TB
	cfg     consumer.Config
	queue   *queuetest.Faulty
	store   *store.Store
	ledger  *ledger
	counter *fakeCounter
	keys    *auth.Keyring
	minted  int64
	users   int64
}

// saleID is the open sale of each world.
const saleID = "thing"

func newWorld(t testing.TB, stock int64, payWithin time.Duration) *world {
	t.Helper()
	return newWorldOn(t, storetest.SQLite(t), stock, payWithin)
}

func newWorldOn(t testing.TB, ledgerStore *store.Store, stock int64, payWithin time.Duration) *world {
	t.Helper()
	w := &world{t: t, cfg: consumer.DefaultConfig(), counter: newFakeCounter(), store: ledgerStore}
	w.ledger = &ledger{Store: w.store}
	w.cfg.Database.Path, w.cfg.Queue.Path = "unused", filepath.Join(t.TempDir(), "queue.db")
	w.cfg.TicketKeys = []auth.SymmetricKey{{ID: "k1", Secret: "0123456789abcdef0123456789abcdef"}}
	w.cfg.OutboxInterval, w.cfg.SweepInterval, w.cfg.ParkedInterval = 2*time.Millisecond, 2*time.Millisecond, 5*time.Millisecond
	w.cfg.Linger = 2 * time.Millisecond
	var err error
	if w.keys, err = auth.NewKeyring(w.cfg.TicketKeys); err != nil {
		t.Fatal(err)
	}
	opened, err := embedded.Open(context.Background(), w.cfg.Queue, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	w.queue = queuetest.NewFaulty(opened)
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("closing the queue: %v", err)
		}
	})
	storetest.OpenSale(t, w.store, saleID, stock, payWithin)
	return w
}

// running is a consumer under test.
type running struct {
	cancel context.CancelFunc
	done   chan error
	rt     *service.Runtime
}

// start starts a consumer, which the test's end stops if nobody did before.
func (w *world) start(opts ...consumer.Option) *running {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.ledger.crash = cancel
	r := &running{cancel: cancel, done: make(chan error, 1), rt: service.NewRuntime("consumer", servicetest.Log(w.t))}
	opts = append([]consumer.Option{consumer.WithCounter(w.counter), consumer.WithQueue(w.queue), consumer.WithLedger(w.ledger)}, opts...)
	s, err := consumer.Open(ctx, w.cfg, r.rt, opts...)
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	go func() { r.done <- s.Run(ctx) }()
	w.t.Cleanup(func() { r.stop(w.t) })
	return r
}

// stop drains the consumer and waits for it. It may be called again.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		r.done <- nil
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(within):
		t.Fatalf("the consumer did not stop within %s", within)
	}
}

// mint makes an order that the counter holds, of a user of its own.
func (w *world) mint(state sale.HoldState) store.Accepted { return w.mintAt(1, state) }

func (w *world) mintAt(shard int, state sale.HoldState) store.Accepted {
	w.users++
	return w.mintFor(shard, fmt.Sprintf("u%d", w.users), 1, state)
}

func (w *world) mintFor(shard int, user string, slot int64, state sale.HoldState) store.Accepted {
	w.minted++
	a := store.Accepted{Binding: sale.Binding{
		Order: sale.MakeOrderID(time.Now().UnixMilli()-sale.EpochMillis, shard, int(w.minted)%sale.MaxSequence),
		Sale:  saleID, User: user, Quantity: 1, Slot: slot,
	}}
	if state != 0 {
		w.counter.set(a.Order, state)
	}
	return a
}

// body is the order message of an order.
func (w *world) body(a store.Accepted) []byte {
	w.t.Helper()
	ticket, err := w.keys.SignTicket(auth.Ticket{Order: a.Order, Sale: a.Sale, User: a.User, Quantity: a.Quantity, Slot: a.Slot, Key: a.Key, ExpiresAt: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return sale.OrderMessage{Version: sale.MessageVersion, Ticket: ticket, AcceptedAt: time.Now().UnixMilli()}.Encode()
}

func (w *world) publish(bodies ...[]byte) {
	w.t.Helper()
	messages := make([]queue.Message, len(bodies))
	for i, body := range bodies {
		messages[i] = queue.Message{ID: fmt.Sprint(i), Body: body}
	}
	for _, outcome := range w.queue.Publish(context.Background(), consumer.Topic, messages) {
		if outcome.Fate != queue.Confirmed {
			w.t.Fatalf("publishing: %+v", outcome)
		}
	}
}

func (w *world) publishOrders(orders ...store.Accepted) {
	w.t.Helper()
	bodies := make([][]byte, len(orders))
	for i, a := range orders {
		bodies[i] = w.body(a)
	}
	w.publish(bodies...)
}

func (w *world) many(n int, state sale.HoldState) []store.Accepted {
	orders := make([]store.Accepted, n)
	for i := range orders {
		orders[i] = w.mint(state)
	}
	return orders
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	servicetest.Eventually(w.t, within, what, holds)
}

func (w *world) depth() queue.Depth {
	w.t.Helper()
	depth, err := w.queue.Depth(context.Background(), consumer.Topic)
	if err != nil {
		w.t.Fatal(err)
	}
	return depth
}

// drained waits until the queue is empty.
func (w *world) drained() {
	w.t.Helper()
	w.eventually("the queue is empty", func() bool { return w.depth().Empty() })
}

// states waits until every order has a row in this state.
func (w *world) states(want sale.OrderState, orders ...store.Accepted) {
	w.t.Helper()
	for _, a := range orders {
		var last error
		var row store.Order
		w.eventually(fmt.Sprintf("order %s is %s", a.Order, want), func() bool {
			row, last = w.store.OrderByID(context.Background(), a.Order)
			return last == nil && row.State == want
		})
		if row.Binding() != a.Binding {
			w.t.Fatalf("the row of %s is %+v, want %+v", a.Order, row.Binding(), a.Binding)
		}
	}
}

func (w *world) noRow(orders ...store.Accepted) {
	w.t.Helper()
	for _, a := range orders {
		if row, err := w.store.OrderByID(context.Background(), a.Order); !errors.Is(err, store.ErrNotFound) {
			w.t.Fatalf("order %s has a row: %+v, %v", a.Order, row, err)
		}
	}
}

// check checks the ledger's figures with every row of the orders.
func (w *world) check(orders ...store.Accepted) {
	w.t.Helper()
	ids := make([]sale.OrderID, len(orders))
	for i, a := range orders {
		ids[i] = a.Order
	}
	storetest.CheckSale(w.t, w.store, saleID, ids...)
}

func (w *world) backlog() store.Backlog {
	w.t.Helper()
	b, err := w.store.Backlog(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// ledger is the real one with faults. A hook that returns an error ends its call.
type ledger struct {
	*store.Store
	crash  context.CancelFunc // stops the consumer under test
	before atomic.Pointer[func(ctx context.Context) (context.Context, error)]
	after  atomic.Pointer[func() error]
	letter atomic.Pointer[func() error]
	writes atomic.Int64
}

func (l *ledger) beforeWrite(hook func(ctx context.Context) (context.Context, error)) {
	if hook == nil {
		l.before.Store(nil)
		return
	}
	l.before.Store(&hook)
}

func (l *ledger) afterWrite(hook func() error) { l.after.Store(&hook) }

func (l *ledger) beforeLetter(hook func() error) { l.letter.Store(&hook) }

func (l *ledger) AddDeadLetter(ctx context.Context, letter store.DeadLetter) error {
	if hook := l.letter.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return err
		}
	}
	return l.Store.AddDeadLetter(ctx, letter)
}

func (l *ledger) WriteOrders(ctx context.Context, batch []store.Accepted) (store.WriteReport, error) {
	l.writes.Add(1)
	if hook := l.before.Load(); hook != nil {
		var err error
		if ctx, err = (*hook)(ctx); err != nil {
			return store.WriteReport{}, err
		}
	}
	report, err := l.Store.WriteOrders(ctx, batch)
	if hook := l.after.Load(); hook != nil && err == nil {
		if err := (*hook)(); err != nil {
			return store.WriteReport{}, err
		}
	}
	return report, err
}

// manualClock moves only when told to.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newManualClock() *manualClock {
	return &manualClock{now: time.Now(), timers: map[chan time.Time]time.Time{}}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := make(chan time.Time, 1)
	c.timers[timer] = c.now.Add(d)
	return timer
}

// advance moves the clock and fires what is due.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for timer, due := range c.timers {
		if !due.After(c.now) {
			timer <- c.now
			delete(c.timers, timer)
		}
	}
}
