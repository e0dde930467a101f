package backend

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

const (
	// counterMemory is how long the counter's last figures speak for it while it is away. After that
	// a sale is shown by what the ledger knows, which never is "sold out".
	counterMemory = 5 * time.Second
	// bookTimeout bounds one refresh.
	bookTimeout = 2 * time.Second
	// bookMemory is how old the ledger's part may get before readers are told of the failure.
	bookMemory = 30 * time.Second
)

// counterSales is where the counter's figures come from.
type counterSales interface {
	SaleList(ctx context.Context) ([]sale.Info, error)
}

// ledgerSales is where sales come from.
type ledgerSales interface {
	Sales(ctx context.Context) ([]store.Sale, error)
}

// page is one reading of all sales, immutable once it is shown.
type page struct {
	sales []store.Sale
	infos map[string]sale.Info
	read  time.Time // when the ledger was read
	heard time.Time // when the counter answered last
	// offset is what the counter's wall clock is ahead of ours: the counter decides when a sale opens.
	offset time.Duration
	// change is the saleBook's when the reading began.
	change int64
}

// saleBook is the list of sales for everybody who asks, refreshed on demand, by one reader at a time,
// and at most once per refresh interval: a crowd costs the ledger and the counter nothing.
type saleBook struct {
	ledger  ledgerSales
	counter counterSales
	refresh time.Duration
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	current *page
	reading chan struct{} // closed when the refresh under way is over; nil when there is none
	lastErr error
	tried   time.Time
	change  int64 // counts forget
}

// get is a page that is at most about refresh old, or older while the ledger is away (bounded by
// bookMemory). While a refresh is under way, readers get the page before it.
func (b *saleBook) get(ctx context.Context) (*page, error) {
	for {
		b.mu.Lock()
		p, now := b.current, b.now()
		changed := p == nil || p.change != b.change
		if b.reading == nil && (now.Sub(b.tried) >= b.refresh || changed && b.lastErr == nil) {
			b.reading = make(chan struct{})
			go b.read(context.WithoutCancel(ctx), b.reading, b.change)
		}
		reading, err := b.reading, b.lastErr
		b.mu.Unlock()
		// With nobody asking for a while, the page is too old to be shown while it is refreshed.
		if p != nil && (!changed && now.Sub(p.read) < 2*b.refresh || err != nil && now.Sub(p.read) < bookMemory) {
			return p, nil
		}
		if reading == nil {
			return nil, err
		}
		select {
		case <-reading:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// forget voids every page that was read until now, after an operator changed something here.
func (b *saleBook) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change++
}

// read refreshes once. It outlives its first reader, but not bookTimeout. change is what it will show
// at least.
func (b *saleBook) read(ctx context.Context, done chan struct{}, change int64) {
	ctx, cancel := context.WithTimeout(ctx, bookTimeout)
	defer cancel()
	started := b.now()
	next := &page{infos: map[string]sale.Info{}, change: change}
	var infos []sale.Info
	var counterErr error
	var both sync.WaitGroup
	both.Go(func() { infos, counterErr = b.counter.SaleList(ctx) })
	sales, err := b.ledger.Sales(ctx)
	both.Wait()

	b.mu.Lock()
	defer b.mu.Unlock()
	defer close(done)
	b.reading, b.tried, b.lastErr = nil, started, err
	if err != nil {
		b.tried = b.now() // those who waited are told, instead of waiting for the next failure
		b.log.Warn("the list of sales could not be refreshed", "error", err)
		return
	}
	now := b.now()
	next.sales, next.read = sales, now
	switch {
	case counterErr == nil:
		next.heard = now
		for _, info := range infos {
			next.infos[info.ID] = info
			next.offset = time.UnixMilli(info.Now).Sub(now)
		}
	case b.current != nil && now.Sub(b.current.heard) < counterMemory:
		next.infos, next.heard, next.offset = b.current.infos, b.current.heard, b.current.offset
	case b.current != nil:
		next.heard, next.offset = b.current.heard, b.current.offset
	}
	b.current = next
}

// wait lets a refresh that is under way end.
func (b *saleBook) wait() {
	b.mu.Lock()
	reading := b.reading
	b.mu.Unlock()
	if reading != nil {
		<-reading
	}
}
