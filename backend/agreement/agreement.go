package agreement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Ledger is what the pusher needs of the store.
type Ledger interface {
	Sales(ctx context.Context) ([]store.Sale, error)
	SaleByID(ctx context.Context, id string) (store.Sale, error)
	ChangesAfter(ctx context.Context, id string, revision int64) ([]store.SaleChange, error)
	AcknowledgeSale(ctx context.Context, id string, revision int64, ceiling *int64) error
	SetSaleAlarm(ctx context.Context, id, text string) error
}

// Counter is what the pusher needs of the counter's client.
type Counter interface {
	SaleInfo(ctx context.Context, saleID string) (sale.Info, error)
	SaleList(ctx context.Context) ([]sale.Info, error)
	Commands
}

// Commands are the operator's commands of one sale.
type Commands interface {
	OpenSale(ctx context.Context, terms sale.Terms) error
	PauseSale(ctx context.Context, id string, revision int64) error
	ResumeSale(ctx context.Context, id string, revision int64) error
	CloseSale(ctx context.Context, id string, revision int64) error
	ForgetSale(ctx context.Context, id string, revision int64) error
	SetStock(ctx context.Context, id string, revision, total int64) error
}

// AlarmPrefix begins the alarms that this package sets, and clears when the two sides agree again.
const AlarmPrefix = "agreement: "

// strikesToAlarm is the number of rounds in a row that must see a disagreement before it alarms, so
// that one stale read does not.
const strikesToAlarm = 3

// ErrDisagree is returned while the counter's history is not the ledger's.
var ErrDisagree = errors.New("ledger and counter disagree about a sale")

// Stats are totals since start, and gauges of the last round.
type Stats struct {
	Pushed   atomic.Int64 // changes that the counter applied
	Failed   atomic.Int64 // rounds or pushes that could not be finished
	Behind   atomic.Int64 // sales whose changes the counter has not acknowledged
	Disagree atomic.Int64 // sales in disagreement
}

// Pusher is safe for concurrent use. Make one with New.
type Pusher struct {
	ledger  Ledger
	counter Counter
	log     *slog.Logger
	busy    chan struct{} // held by whoever pushes: one at a time in this process
	strikes map[string]int
	Stats   Stats
}

// New makes a pusher; nothing runs until Push, Round or Run.
func New(ledger Ledger, counter Counter, log *slog.Logger) *Pusher {
	return &Pusher{ledger: ledger, counter: counter, log: log, busy: make(chan struct{}, 1), strikes: map[string]int{}}
}

// Run does a Round at once and then one each interval, until ctx is done.
func (p *Pusher) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		err := p.Round(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing { // once at the beginning and once at the end of a failure
			failing = err != nil
			if failing {
				p.log.Warn("ledger and counter cannot be compared; trying on", "error", err)
			} else {
				p.log.Info("ledger and counter are compared again")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Round compares every sale and pushes those that differ.
func (p *Pusher) Round(ctx context.Context) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	sales, err := p.ledger.Sales(ctx)
	if err != nil {
		p.Stats.Failed.Add(1)
		return err
	}
	list, err := p.counter.SaleList(ctx)
	if err != nil {
		p.Stats.Failed.Add(1)
		return fmt.Errorf("listing the counter's sales: %w", err)
	}
	known := make(map[string]sale.Info, len(list))
	for _, info := range list {
		known[info.ID] = info
	}
	var problems []error
	var behind, disagree int64
	for _, s := range sales {
		info, found := known[s.ID]
		if s.Revision == 0 || found && info.Complete() && settled(&s, &info) {
			delete(p.strikes, s.ID)
			continue
		}
		err := p.push(ctx, s.ID)
		if errors.Is(err, ErrDisagree) {
			disagree++
		} else if err != nil {
			behind++
			problems = append(problems, err)
		}
	}
	p.Stats.Behind.Store(behind)
	p.Stats.Disagree.Store(disagree)
	return errors.Join(problems...)
}

// settled reports that there is nothing to push, acknowledge, lower or clear.
func settled(s *store.Sale, info *sale.Info) bool {
	return info.Revision == s.Revision && s.Acknowledged == s.Revision && sameStock(s, info) && ceilingOf(info) >= s.StockCeiling &&
		!strings.HasPrefix(s.Alarm, AlarmPrefix)
}

// sameStock reports that one revision means one stock on both sides; a tombstone's is not compared.
func sameStock(s *store.Sale, info *sale.Info) bool {
	return info.Stock == s.Stock || info.Forgotten
}

// ceilingOf is how many units buyers may still have at the counter: its stock and what was cut from it
// but is in their hands.
func ceilingOf(info *sale.Info) int64 { return info.Stock + info.Debt }

// Push brings one sale to agreement now. nil: the counter has acknowledged everything that the ledger
// held when it was read. ErrDisagree: an operator is needed. Any other error: a later round tries again.
func (p *Pusher) Push(ctx context.Context, id string) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	return p.push(ctx, id)
}

func (p *Pusher) lock(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for an earlier push: %w", context.Cause(ctx))
	}
}

func (p *Pusher) unlock() { <-p.busy }

// push is Push for whoever holds the lock.
func (p *Pusher) push(ctx context.Context, id string) error {
	err := p.bring(ctx, id)
	if err != nil && !errors.Is(err, ErrDisagree) {
		p.Stats.Failed.Add(1)
		return fmt.Errorf("sale %s: %w", id, err)
	}
	return err
}

func (p *Pusher) bring(ctx context.Context, id string) error {
	// The order of the reads matters. What the ledger had acknowledged before the counter is asked,
	// the counter must have; what the counter has, the ledger must have when read after it.
	before, err := p.ledger.SaleByID(ctx, id)
	if err != nil {
		return err
	}
	if before.Revision == 0 {
		return nil
	}
	info, err := p.info(ctx, id)
	if err != nil {
		return err
	}
	if info.Revision < before.Acknowledged || info.Revision == 0 && before.Sold > 0 {
		return p.disagree(ctx, before, fmt.Sprintf("the counter is at revision %d but acknowledged %d: it has lost its state; restore the sale there, it is not reopened", info.Revision, before.Acknowledged))
	}
	intent, err := p.ledger.SaleByID(ctx, id)
	if err != nil {
		return err
	}
	if info.Revision > intent.Revision {
		return p.disagree(ctx, intent, fmt.Sprintf("the counter is at revision %d but the ledger intends %d: the ledger has lost changes, or the counter is another's", info.Revision, intent.Revision))
	}
	if settled(&intent, &info) {
		delete(p.strikes, id)
		return nil
	}
	if err := p.apply(ctx, intent, info.Revision); err != nil {
		return err
	}
	return p.acknowledge(ctx, intent)
}

// info is the counter's state of a sale; revision 0 when it, or one of the sale's shards, knows none. Only
// with the answers of all shards is anything concluded: a change is acknowledged when every one has it.
func (p *Pusher) info(ctx context.Context, id string) (sale.Info, error) {
	info, err := p.counter.SaleInfo(ctx, id)
	if errors.Is(err, client.ErrNoSale) {
		return sale.Info{ID: id}, nil
	}
	if err == nil && !info.Complete() {
		err = fmt.Errorf("%w: no answer from shard %s", client.ErrUnavailable, strings.Join(info.Silent, ", "))
	}
	return info, err
}

// apply sends the changes after revision, in order.
func (p *Pusher) apply(ctx context.Context, s store.Sale, revision int64) error {
	for revision < s.Revision {
		changes, err := p.ledger.ChangesAfter(ctx, s.ID, revision)
		if err != nil {
			return err
		}
		if len(changes) == 0 || changes[0].Revision != revision+1 {
			return p.disagree(ctx, s, fmt.Sprintf("the ledger's change log lacks revision %d", revision+1))
		}
		for i := range changes {
			change := &changes[i]
			if err := p.send(ctx, change); err != nil {
				return p.sendFailed(ctx, s, change, err)
			}
			p.Stats.Pushed.Add(1)
			p.log.Info("the counter applied a change", "sale", s.ID, "revision", change.Revision, "command", change.Command)
			revision = change.Revision
		}
	}
	return nil
}

// sendFailed tells what can never work from what a later round may mend.
func (p *Pusher) sendFailed(ctx context.Context, s store.Sale, change *store.SaleChange, err error) error {
	var conflict *client.ConflictError
	var request *client.RequestError
	var field *sale.FieldError
	switch {
	case errors.As(err, &conflict):
		if conflict.Revision > change.Revision {
			return fmt.Errorf("another backend pushes too: %w", err) // the next round sees what it did
		}
		return p.disagree(ctx, s, fmt.Sprintf("the counter has other content under revision %d", conflict.Revision))
	case errors.As(err, &request), errors.As(err, &field):
		return p.disagree(ctx, s, fmt.Sprintf("the counter refuses revision %d (%s): %v", change.Revision, change.Command, err))
	}
	return fmt.Errorf("revision %d (%s): %w", change.Revision, change.Command, err)
}

// acknowledge notes the counter's revision and lowers the ceiling to what it reports.
func (p *Pusher) acknowledge(ctx context.Context, s store.Sale) error {
	info, err := p.info(ctx, s.ID)
	if err != nil {
		return err
	}
	if info.Revision == s.Revision && !sameStock(&s, &info) {
		return p.disagree(ctx, s, fmt.Sprintf("at revision %d the counter has a stock of %d, the ledger intends %d: the counter was told by somebody else", s.Revision, info.Stock, s.Stock))
	}
	ceiling := ceilingOf(&info)
	if err := p.ledger.AcknowledgeSale(ctx, s.ID, min(info.Revision, s.Revision), &ceiling); err != nil {
		return err
	}
	delete(p.strikes, s.ID)
	if strings.HasPrefix(s.Alarm, AlarmPrefix) {
		p.log.Info("ledger and counter agree again", "sale", s.ID)
		return p.ledger.SetSaleAlarm(ctx, s.ID, "")
	}
	return nil
}

// disagree counts a strike and, at the last, raises the sale's alarm. An alarm of somebody else stays.
func (p *Pusher) disagree(ctx context.Context, s store.Sale, what string) error {
	err := fmt.Errorf("%w: sale %s: %s", ErrDisagree, s.ID, what)
	p.strikes[s.ID] = min(p.strikes[s.ID]+1, strikesToAlarm)
	if p.strikes[s.ID] < strikesToAlarm || s.Alarm != "" {
		return err
	}
	p.log.Error("ledger and counter disagree; nothing is sent until an operator has decided", "sale", s.ID, "what", what)
	if alarmErr := p.ledger.SetSaleAlarm(ctx, s.ID, AlarmPrefix+what); alarmErr != nil {
		return errors.Join(err, alarmErr)
	}
	return err
}
