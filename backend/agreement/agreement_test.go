package agreement_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/backend/agreement"
	"headgate.example/backend/internal/countertest"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// pair is a ledger, a counter, and a pusher between them.
type pair struct {
	t       *testing.T
	ledger  *store.Store
	counter *countertest.Counter
	pusher  *agreement.Pusher
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, ledger: storetest.SQLite(t), counter: countertest.New(time.Now())}
	p.restart()
	return p
}

// restart is what a restarted backend begins with.
func (p *pair) restart() { p.pusher = agreement.New(p.ledger, p.counter, servicetest.Log(p.t)) }

func (p *pair) draft(id string, stock int64) {
	p.t.Helper()
	draft := store.Sale{ID: id, Currency: "CNY", Stock: stock, OpensAt: time.Now().Add(-time.Minute), HoldFor: 30 * time.Second, PayWithin: time.Hour}
	if err := p.ledger.CreateSale(p.t.Context(), &draft); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) intend(id string, changes []store.SaleChange, err error) {
	p.t.Helper()
	if err == nil {
		_, err = p.ledger.ChangeSale(p.t.Context(), id, func(store.Sale) ([]store.SaleChange, error) { return changes, nil })
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func terms(id string, stock int64) sale.Terms {
	return sale.Terms{
		ID: id, Revision: 1, Stock: stock, Limit: 1, OpensAt: time.Now().Add(-time.Minute).UnixMilli(), HoldForMillis: 30_000,
		RetainForMillis: 86_400_000, Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
}

func (p *pair) open(id string, stock int64) {
	p.t.Helper()
	p.draft(id, stock)
	changes, err := agreement.Open(terms(id, stock))
	p.intend(id, changes, err)
}

func (p *pair) sale(id string) store.Sale {
	p.t.Helper()
	s, err := p.ledger.SaleByID(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *pair) info(id string) sale.Info {
	p.t.Helper()
	info, err := p.counter.SaleInfo(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return info
}

func (p *pair) push(id string) {
	p.t.Helper()
	if err := p.pusher.Push(p.t.Context(), id); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) agreed(id string, revision int64) {
	p.t.Helper()
	if s, info := p.sale(id), p.info(id); s.Revision != revision || s.Acknowledged != revision || info.Revision != revision || s.Alarm != "" {
		p.t.Fatalf("ledger at %d, acknowledged %d, counter at %d, alarm %q: want all at %d", s.Revision, s.Acknowledged, info.Revision, s.Alarm, revision)
	}
}

func TestOpenIsPushedAndAcknowledged(t *testing.T) {
	p := newPair(t)
	p.draft("d", 1)
	p.open("1", 10)
	p.push("1")
	p.push("d")
	p.agreed("1", 2)
	if info := p.info("1"); info.Paused || info.Available != 10 {
		t.Fatalf("the counter has %+v, want 10 units on sale", info)
	}
	if _, err := p.counter.SaleInfo(t.Context(), "d"); !errors.Is(err, client.ErrNoSale) {
		t.Fatalf("the counter knows a draft: %v", err)
	}
	before := p.counter.Calls("SaleInfo")
	if err := p.pusher.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := p.counter.Calls("SaleInfo") - before; n != 0 {
		t.Errorf("a round without a difference looked at %d sales one by one, want none", n)
	}
}

// A push that breaks off after each possible number of changes goes on where it stopped, whichever
// side was restarted meanwhile.
func TestPushGoesOnAfterAnyBreak(t *testing.T) {
	for n := range 5 {
		p := newPair(t)
		p.open("1", 10)
		changes, err := agreement.Stock(4, true)
		p.intend("1", changes, err)
		fault := []error{client.ErrUnknown, client.ErrUnavailable}[n%2]
		p.counter.FailAfter(n, fault)
		if err := p.pusher.Push(t.Context(), "1"); !errors.Is(err, fault) {
			t.Fatalf("after %d changes the push says %v, want %v", n, err, fault)
		}
		if s := p.sale("1"); s.Acknowledged == s.Revision {
			t.Fatal("acknowledged although the counter was away")
		}
		p.restart()
		if err := p.pusher.Round(t.Context()); err == nil {
			t.Fatal("a round with the counter away says that all is well")
		}
		if s := p.sale("1"); s.Alarm != "" {
			t.Fatalf("a counter that is away alarms: %s", s.Alarm)
		}
		p.counter.Fail(nil)
		if err := p.pusher.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.agreed("1", 5)
		if info := p.info("1"); info.Stock != 4 || info.Paused {
			t.Fatalf("the counter has %+v, want 4 units on sale", info)
		}
	}
}

func TestCeilingFollowsTheCounter(t *testing.T) {
	p := newPair(t)
	p.open("1", 10)
	p.push("1")
	var ids []sale.OrderID
	for _, user := range []string{"u1", "u2", "u3", "u4", "u5", "u6"} {
		r, err := p.counter.Reserve(t.Context(), "1", user, 1, "")
		if err != nil || r.Refused() {
			t.Fatalf("%+v %v", r, err)
		}
		if _, err := p.counter.Confirm(t.Context(), r.Order); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.Order)
	}
	changes, err := agreement.Stock(4, true)
	p.intend("1", changes, err)
	if s := p.sale("1"); s.StockCeiling != 10 {
		t.Fatalf("the ceiling fell to %d before the counter gave units up", s.StockCeiling)
	}
	p.push("1")
	if s := p.sale("1"); s.Stock != 4 || s.StockCeiling != 6 {
		t.Fatalf("stock %d, ceiling %d: want 4 and 6, since 6 units are sold", s.Stock, s.StockCeiling)
	}
	for _, id := range ids[:3] {
		if _, err := p.counter.Release(t.Context(), id, "cancelled"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.pusher.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := p.sale("1"); s.StockCeiling != 4 {
		t.Fatalf("ceiling %d: want 4 once the debt is paid", s.StockCeiling)
	}
	changes, err = agreement.Stock(20, false)
	p.intend("1", changes, err)
	if s := p.sale("1"); s.StockCeiling != 20 || p.info("1").Stock != 4 {
		t.Fatal("the ceiling must rise before the counter's stock does")
	}
}

// rounds runs as many as it takes to alarm, and one more.
func (p *pair) rounds(n int) {
	p.t.Helper()
	for range n {
		_ = p.pusher.Round(p.t.Context()) // disagreements show in the alarm
	}
}

func TestLostCounterAlarmsAndIsNotReopened(t *testing.T) {
	p := newPair(t)
	p.open("1", 10)
	p.push("1")
	p.counter.Lose()
	p.rounds(2)
	if s := p.sale("1"); s.Alarm != "" {
		t.Fatalf("alarmed after two looks: %s", s.Alarm)
	}
	p.rounds(2)
	if s := p.sale("1"); !strings.HasPrefix(s.Alarm, agreement.AlarmPrefix) {
		t.Fatalf("alarm %q: want one that begins with %q", s.Alarm, agreement.AlarmPrefix)
	}
	if err := p.pusher.Push(t.Context(), "1"); !errors.Is(err, agreement.ErrDisagree) {
		t.Fatalf("pushing to a counter that lost the sale: %v", err)
	}
	if _, err := p.counter.SaleInfo(t.Context(), "1"); !errors.Is(err, client.ErrNoSale) {
		t.Fatalf("the sale was reopened: %v", err)
	}
	if p.pusher.Stats.Disagree.Load() != 1 {
		t.Error("the disagreement is not counted")
	}
}

func TestCounterAheadOfTheLedgerAlarms(t *testing.T) {
	p := newPair(t)
	p.open("1", 10)
	p.push("1")
	if err := p.counter.PauseSale(t.Context(), "1", 3); err != nil {
		t.Fatal(err)
	}
	p.rounds(3)
	if s := p.sale("1"); !strings.Contains(s.Alarm, "revision 3") {
		t.Fatalf("alarm %q: want one that names revision 3", s.Alarm)
	}
	// The operator writes the same change into the ledger: both agree, and the alarm goes.
	p.intend("1", agreement.Pause(), nil)
	p.rounds(1)
	p.agreed("1", 3)
}

func TestForeignContentUnderARevisionAlarms(t *testing.T) {
	p := newPair(t)
	p.open("1", 10)
	if err := p.counter.OpenSale(t.Context(), terms("1", 99)); err != nil {
		t.Fatal(err)
	}
	p.rounds(3)
	if s := p.sale("1"); !strings.Contains(s.Alarm, "stock of 99") || s.Acknowledged != 0 {
		t.Fatalf("acknowledged %d, alarm %q: want nothing acknowledged and the other stock named", s.Acknowledged, s.Alarm)
	}
}

func TestRunHealsByItself(t *testing.T) {
	p := newPair(t)
	p.counter.Fail(client.ErrUnavailable)
	p.open("1", 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.pusher.Run(ctx, 5*time.Millisecond) }()
	servicetest.Eventually(t, 30*time.Second, "a failed round", func() bool { return p.pusher.Stats.Failed.Load() > 1 })
	p.counter.Fail(nil)
	servicetest.Eventually(t, 30*time.Second, "agreement", func() bool { return p.sale("1").Acknowledged == 2 })
	cancel()
	<-done
}

// silentCounter is a counter of which one shard does not answer.
type silentCounter struct {
	*countertest.Counter
	silent []string
}

func (c *silentCounter) SaleInfo(ctx context.Context, id string) (sale.Info, error) {
	info, err := c.Counter.SaleInfo(ctx, id)
	info.Silent = c.silent
	return info, err
}

func (c *silentCounter) SaleList(ctx context.Context) ([]sale.Info, error) {
	list, err := c.Counter.SaleList(ctx)
	for i := range list {
		list[i].Silent = c.silent
	}
	return list, err
}

// Nothing is acknowledged, and nothing alarms, on the word of some shards only.
func TestASilentShardHoldsTheAgreementBack(t *testing.T) {
	p := newPair(t)
	counter := &silentCounter{Counter: p.counter, silent: []string{"s2"}}
	p.pusher = agreement.New(p.ledger, counter, servicetest.Log(t))
	p.open("1", 10)
	for range 5 {
		if err := p.pusher.Push(t.Context(), "1"); !errors.Is(err, client.ErrUnavailable) {
			t.Fatalf("%v", err)
		}
		if err := p.pusher.Round(t.Context()); err == nil {
			t.Error("a round with a silent shard says that all is well")
		}
	}
	if s := p.sale("1"); s.Acknowledged != 0 || s.Alarm != "" {
		t.Errorf("acknowledged %d, alarm %q", s.Acknowledged, s.Alarm)
	}
	counter.silent = nil
	p.push("1")
	p.agreed("1", 2)
}
