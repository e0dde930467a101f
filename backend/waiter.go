package backend

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// How often the one poller looks for everybody who waits.
const (
	ledgerEvery  = 150 * time.Millisecond
	counterEvery = 600 * time.Millisecond // for ids that the ledger does not have
	pollTimeout  = 3 * time.Second
	pollAtOnce   = 32 // look-ups at the counter under way at once
)

// orderLedger is where orders appear.
type orderLedger interface {
	OrdersByIDs(ctx context.Context, ids []sale.OrderID) ([]store.Order, error)
}

// orderCounter knows orders before the ledger does.
type orderCounter interface {
	Order(ctx context.Context, id sale.OrderID) (client.Hold, error)
}

// waiters holds the long polls. One poller asks the ledger for all their ids at once, and the counter
// for those that it does not know to be confirmed; it rests while nobody waits.
type waiters struct {
	ledger  orderLedger
	counter orderCounter
	limit   int
	log     *slog.Logger

	mu      sync.Mutex
	waiting map[sale.OrderID]*watch
	count   int
	wake    chan struct{}
	closing chan struct{} // closed by release
}

// watch is one id and everybody who waits for it.
type watch struct {
	readers   int
	view      orderView     // the last that was seen; Status "" for none
	done      chan struct{} // closed once view is settled
	settled   bool
	confirmed bool // only the ledger knows more
}

func newWaiters(ledger orderLedger, counter orderCounter, limit int, log *slog.Logger) *waiters {
	return &waiters{ledger: ledger, counter: counter, limit: limit, log: log, waiting: map[sale.OrderID]*watch{}, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// release ends every wait, present and future, with the last that was seen. It is called once.
func (w *waiters) release() { close(w.closing) }

// wait waits until the order is past pending and queued, for at most so long, and gives the last that
// was seen of it; Status "" when nothing new was. When too many wait already it returns at once.
func (w *waiters) wait(ctx context.Context, id sale.OrderID, state sale.OrderState, most time.Duration) orderView {
	watched := w.join(id, state)
	if watched == nil {
		return orderView{}
	}
	defer w.leave(id, watched)
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-watched.done:
	case <-timer.C:
	case <-w.closing:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return watched.view
}

func (w *waiters) join(id sale.OrderID, state sale.OrderState) *watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= w.limit {
		return nil
	}
	w.count++
	watched := w.waiting[id]
	if watched == nil {
		watched = &watch{done: make(chan struct{})}
		w.waiting[id] = watched
	}
	watched.readers++
	watched.confirmed = watched.confirmed || state == sale.Queued
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return watched
}

func (w *waiters) leave(id sale.OrderID, watched *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count--
	watched.readers--
	if watched.readers == 0 && w.waiting[id] == watched {
		delete(w.waiting, id)
	}
}

// waitingNow is how many long polls wait.
func (w *waiters) waitingNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// run polls until ctx is done. Those who still wait then get the last that was seen when their wait
// or their request ends.
func (w *waiters) run(ctx context.Context) {
	ticker := time.NewTicker(ledgerEvery)
	defer ticker.Stop()
	var askedCounter time.Time
	for {
		if w.waitingNow() == 0 {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
		}
		askCounter := time.Since(askedCounter) >= counterEvery
		if askCounter {
			askedCounter = time.Now()
		}
		w.poll(ctx, askCounter)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// poll looks once for everybody.
func (w *waiters) poll(parent context.Context, askCounter bool) {
	ctx, cancel := context.WithTimeout(parent, pollTimeout)
	defer cancel()
	ids, pending := w.ids()
	for start := 0; start < len(ids); start += store.MaxPage {
		part := ids[start:min(start+store.MaxPage, len(ids))]
		rows, err := w.ledger.OrdersByIDs(ctx, part)
		if err != nil {
			if parent.Err() == nil {
				w.log.Warn("long polls cannot look into the ledger", "error", err)
			}
			return
		}
		for i := range rows {
			w.seen(rows[i].ID, viewOf(&rows[i]))
			delete(pending, rows[i].ID)
		}
	}
	if askCounter {
		w.askCounter(ctx, pending)
	}
}

// ids are the ids to look for, and among them those that the counter may still change its mind on.
func (w *waiters) ids() ([]sale.OrderID, map[sale.OrderID]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]sale.OrderID, 0, len(w.waiting))
	pending := map[sale.OrderID]bool{}
	for id, watched := range w.waiting {
		if watched.settled {
			continue
		}
		ids = append(ids, id)
		if !watched.confirmed {
			pending[id] = true
		}
	}
	return ids, pending
}

func (w *waiters) askCounter(ctx context.Context, pending map[sale.OrderID]bool) {
	var lookUps sync.WaitGroup
	slots := make(chan struct{}, pollAtOnce)
	for id := range pending {
		slots <- struct{}{}
		lookUps.Go(func() {
			defer func() { <-slots }()
			if view, known := w.viewAtCounter(ctx, id); known {
				w.seen(id, view)
			}
		})
	}
	lookUps.Wait()
}

// viewAtCounter is what the counter knows of an order without a row; false when it does not answer.
func (w *waiters) viewAtCounter(ctx context.Context, id sale.OrderID) (orderView, bool) {
	hold, err := w.counter.Order(ctx, id)
	if err != nil {
		return orderView{}, false
	}
	if hold.State != sale.Held {
		// It may have become a row, and been released after that, since the ledger was asked.
		rows, err := w.ledger.OrdersByIDs(ctx, []sale.OrderID{id})
		if err != nil {
			return orderView{}, false
		}
		if len(rows) == 1 {
			return viewOf(&rows[0]), true
		}
	}
	return viewOfHold(&hold), true
}

// seen notes a state; the first settled one ends every wait for the id.
func (w *waiters) seen(id sale.OrderID, view orderView) {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := w.waiting[id]
	if watched == nil || watched.settled {
		return
	}
	watched.view = view
	watched.confirmed = watched.confirmed || view.Status == sale.Queued
	if !unsettled(view.Status) {
		watched.settled = true
		close(watched.done)
		delete(w.waiting, id) // whoever comes later looks by himself
	}
}
