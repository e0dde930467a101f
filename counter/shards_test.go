package counter_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/hashring"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

// shards are several counters that share their sales.
type shards struct {
	t       *testing.T
	configs []counter.Config
	running []*running
	*client.Client
}

func startShards(t *testing.T, count int, edits ...func(*counter.Config)) *shards {
	t.Helper()
	s := &shards{t: t, running: make([]*running, count)}
	cc := client.DefaultConfig()
	cc.Shards = nil
	cc.ClientPassword, cc.OperatorPassword = "client-password", "operator-password"
	for i := range count {
		cfg := testConfig(filepath.Join(t.TempDir(), fmt.Sprintf("s%d", i+1)))
		cfg.Listen = servicetest.FreePort(t)
		cfg.Shard = counter.ShardConfig{Name: fmt.Sprintf("s%d", i+1), Number: i + 1}
		cfg.ClientPassword, cfg.OperatorPassword = "client-password", "operator-password"
		cfg.Borrow.PeerTimeout, cfg.Borrow.Wait = 10*time.Second, 20*time.Second // a stall is no silence
		for _, edit := range edits {
			edit(&cfg)
		}
		s.configs = append(s.configs, cfg)
		cc.Shards = append(cc.Shards, client.Shard{Name: cfg.Shard.Name, Number: cfg.Shard.Number, Addresses: []string{cfg.Listen}})
	}
	for i := range s.configs {
		for j, other := range s.configs {
			if i != j {
				s.configs[i].Peers = append(s.configs[i].Peers, counter.PeerConfig{Name: other.Shard.Name, Number: other.Shard.Number, Addresses: []string{other.Listen}})
			}
		}
	}
	for i := range s.configs {
		s.start(i)
	}
	cc.Timeout = 4 * s.configs[0].Borrow.PeerTimeout
	c, err := client.Open(cc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s.Client = c
	return s
}

func (s *shards) start(i int) {
	s.t.Helper()
	s.running[i] = start(s.t, s.configs[i])
}

func (s *shards) stop(i int) {
	s.t.Helper()
	if err := s.running[i].stop(); err != nil {
		s.t.Fatalf("stopping shard %d: %v", i+1, err)
	}
}

func (s *shards) names() []string {
	var names []string
	for _, cfg := range s.configs {
		names = append(names, cfg.Shard.Name)
	}
	return names
}

func (s *shards) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// open opens and resumes a sale over all shards.
func (s *shards) open(id string, stock, limit int64, releases ...sale.Release) {
	s.t.Helper()
	s.must(s.tryOpen(id, stock, limit, releases...))
}

func (s *shards) tryOpen(id string, stock, limit int64, releases ...sale.Release) error {
	err := s.OpenSale(s.t.Context(), sale.Terms{
		ID: id, Revision: 1, Stock: stock, Limit: limit, OpensAt: 1_767_225_600_000, Releases: releases, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: s.names(), Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	})
	if err != nil {
		return err
	}
	return s.ResumeSale(s.t.Context(), id, 2)
}

// users gives count users of the shard at a place.
func (s *shards) users(at, count int) []string {
	s.t.Helper()
	ring, err := client.PinnedRing(s.names(), sale.Ring{Partitions: hashring.DefaultPartitions, Replicas: hashring.DefaultReplicas, Load: hashring.DefaultLoad})
	s.must(err)
	var users []string
	for i := 0; len(users) < count; i++ {
		if user := fmt.Sprintf("u%06d", i); ring.Owner(user) == s.names()[at] {
			users = append(users, user)
		}
	}
	return users
}

func (s *shards) reserve(id, user string, quantity int64) client.Reservation {
	s.t.Helper()
	r, err := s.Reserve(s.t.Context(), id, user, quantity, "")
	if err != nil {
		s.t.Fatalf("reserving for %s: %v", user, err)
	}
	return r
}

func (s *shards) holds(id string) client.Audit {
	s.t.Helper()
	a, err := s.Audit(s.t.Context(), id)
	s.must(err)
	if !a.Holds || len(a.Unsettled) > 0 {
		s.t.Errorf("audit: %+v", a)
	}
	return a
}

func TestABuyerOnAnEmptyShardGetsTheLastUnitOfAnother(t *testing.T) {
	s := startShards(t, 3)
	s.open("1", 1, 0) // the first shard has it
	users := s.users(2, 2)
	if r := s.reserve("1", users[0], 1); r.Code != client.CodeReserved || r.Order.Shard() != 3 {
		t.Errorf("the last unit: %+v", r)
	}
	if r := s.reserve("1", users[1], 1); r.Code != client.CodeSoldOut || r.Detail != 1 {
		t.Errorf("afterwards: %+v", r)
	}
	if r := s.reserve("1", s.users(0, 1)[0], 1); r.Code != client.CodeSoldOut {
		t.Errorf("at the shard that had it: %+v", r)
	}
	for at, want := range []string{"1", "", "1"} {
		if got := s.metric(at, `headgate_counter_decisions_total{command="RESERVE",code="sold_out"}`); got != want {
			t.Errorf("shard %d counts %q decisions that all is sold, want %q", at+1, got, want)
		}
	}
	servicetest.Eventually(t, 30*time.Second, "two readings agree that all is sold", func() bool {
		info, err := s.SaleInfo(t.Context(), "1")
		return err == nil && info.Phase(info.Now) == sale.SoldOut && info.Held == 1
	})
	s.holds("1")
}

func TestUnitsOfSeveralShardsMakeOneOrder(t *testing.T) {
	s := startShards(t, 3)
	s.open("1", 9, 0)
	user := s.users(1, 2)
	if r := s.reserve("1", user[0], 10); r.Code != client.CodeInsufficient || r.Detail != 9 {
		t.Errorf("more than there is: %+v", r)
	}
	if r := s.reserve("1", user[0], 8); r.Code != client.CodeReserved || r.Quantity != 8 {
		t.Errorf("nearly all: %+v", r)
	}
	if r := s.reserve("1", user[1], 2); r.Code != client.CodeInsufficient || r.Detail != 1 {
		t.Errorf("what is left: %+v", r)
	}
	s.holds("1")
}

func TestStagedReleasesAreSeenOverAllShards(t *testing.T) {
	s := startShards(t, 2)
	at := time.Now().Add(24 * time.Hour).UnixMilli()
	s.open("1", 3, 0, sale.Release{At: at, Units: 1})
	users := s.users(1, 3)
	for _, user := range users[:2] {
		if r := s.reserve("1", user, 1); r.Code != client.CodeReserved {
			t.Errorf("%+v", r)
		}
	}
	if r := s.reserve("1", users[2], 1); r.Code != client.CodeNotOpen || r.Detail != at {
		t.Errorf("until the release at either shard: %+v", r)
	}
}

func TestWrongShard(t *testing.T) {
	s := startShards(t, 2)
	s.open("1", 10, 0)
	c := dial(t, s.running[0].Addr())
	c.send(request("AUTH", "client-password"))
	c.reply()
	c.send(request("RESERVE", "1", s.users(1, 1)[0], "1", ""))
	if got := c.reply(); got != "-WRONGSHARD s2" {
		t.Errorf("a user of the other shard: %s", got)
	}
	c.send(request("SHARD.COLLECT", "1"))
	if got := c.reply(); got != "-NOPERM SHARD.COLLECT needs the operator's password" {
		t.Errorf("a client among shards: %s", got)
	}
}

// TestACrowdOverShards lets users of all shards press at once: exactly the stock is sold, and nobody is
// told that all is sold while something is left.
func TestACrowdOverShards(t *testing.T) {
	const stock, buyers = 97, 600
	s := startShards(t, 3)
	s.open("1", stock, 1)
	var mu sync.Mutex
	counts := make(map[string]int)
	var all sync.WaitGroup
	for i := range buyers {
		all.Go(func() {
			for range 20 {
				r, err := s.Reserve(t.Context(), "1", fmt.Sprintf("b%d", i), 1, "")
				if errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrBusy) {
					continue
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					counts[err.Error()]++
				} else {
					counts[r.Code]++
				}
				return
			}
		})
	}
	all.Wait()
	if counts[client.CodeReserved] != stock || counts[client.CodeSoldOut] != buyers-stock {
		t.Errorf("answers: %v", counts)
	}
	if a := s.holds("1"); a.Total.Held != stock || a.Total.Available != 0 {
		t.Errorf("%+v", a.Total)
	}
	servicetest.Eventually(t, 30*time.Second, "every gift is known to have arrived, so that the sale can be forgotten", func() bool {
		a := s.holds("1")
		return a.InTransit == 0
	})
}

// TestASilentShard: while a shard is away, its units are not sold and nobody is told that they are.
func TestASilentShard(t *testing.T) {
	s := startShards(t, 2, func(c *counter.Config) { c.Borrow.PeerTimeout, c.Borrow.Wait = time.Second, 1500*time.Millisecond })
	servicetest.Eventually(t, 30*time.Second, "the sale is open", func() bool { return s.tryOpen("1", 4, 0) == nil }) // two each
	users := s.users(1, 4)
	away := s.users(0, 1)[0]
	s.stop(0)
	for _, user := range users[:2] {
		if r := s.reserve("1", user, 1); r.Code != client.CodeReserved {
			t.Errorf("own units of the other shard: %+v", r)
		}
	}
	for range 3 {
		if r, err := s.Reserve(t.Context(), "1", users[2], 1, ""); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("units of a silent shard: %+v, %v", r, err)
		}
	}
	var mark *client.AwayError
	if _, err := s.Reserve(t.Context(), "1", users[3], 1, ""); !errors.As(err, &mark) || mark.Shard != "s2" || mark.RetryAfter <= 0 {
		t.Errorf("others are told without asking: %v", err)
	}
	if r, err := s.Reserve(t.Context(), "1", away, 1, ""); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a user of the silent shard: %+v, %v", r, err)
	}
	info, err := s.SaleInfo(t.Context(), "1")
	if err != nil || info.Complete() || info.Phase(info.Now) != sale.Open || info.Available != 0 {
		t.Errorf("partial figures: %+v, %v", info, err)
	}
	if _, err := s.Audit(t.Context(), "1"); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("an audit of a part: %v", err)
	}
	if err := s.PauseSale(t.Context(), "1", 3); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("a change that one shard has not made: %v", err)
	}
	s.start(0)
	s.must(s.PauseSale(t.Context(), "1", 3))
	servicetest.Eventually(t, 30*time.Second, "the sale goes on", func() bool { return s.ResumeSale(t.Context(), "1", 4) == nil })
	servicetest.Eventually(t, 30*time.Second, "the rest is sold", func() bool {
		r, err := s.Reserve(t.Context(), "1", users[2], 2, "")
		return err == nil && r.Code == client.CodeReserved
	})
	if r := s.reserve("1", users[3], 1); r.Code != client.CodeSoldOut {
		t.Errorf("now all is sold: %+v", r)
	}
	s.holds("1")
}

// TestDebtIsPaidByAllShards cuts a stock below what one shard has sold: the others' units pay first.
func TestDebtIsPaidByAllShards(t *testing.T) {
	ctx := t.Context()
	s := startShards(t, 2)
	s.open("1", 10, 0) // five each
	users := s.users(0, 5)
	orders := make([]sale.OrderID, 5)
	for i, user := range users {
		orders[i] = s.reserve("1", user, 1).Order
	}
	s.must(s.PauseSale(ctx, "1", 3))
	s.must(s.SetStock(ctx, "1", 4, 6)) // three each: the first owes two, the second has three left
	s.must(s.ResumeSale(ctx, "1", 5))
	a := s.holds("1")
	if a.Total.Debt != 0 || a.Total.Available != 1 || a.Total.Held != 5 {
		t.Errorf("the cut was paid by the other shard: %+v", a.Total)
	}
	s.must(s.PauseSale(ctx, "1", 6))
	s.must(s.SetStock(ctx, "1", 7, 2)) // more is held than that
	s.must(s.ResumeSale(ctx, "1", 8))
	if a = s.holds("1"); a.Total.Debt != 3 || a.Total.Available != 0 {
		t.Errorf("what nobody can pay is owed: %+v", a.Total)
	}
	for _, id := range orders[:3] {
		word, err := s.Abort(ctx, id, "changed my mind")
		if err != nil || word != client.Released {
			t.Errorf("abort: %s, %v", word, err)
		}
	}
	servicetest.Eventually(t, 30*time.Second, "what returns pays", func() bool {
		a := s.holds("1")
		return a.Total.Debt == 0 && a.Total.Held == 2 && a.Total.Available == 0
	})
	if r := s.reserve("1", s.users(1, 1)[0], 1); r.Code != client.CodeSoldOut {
		t.Errorf("nothing is left: %+v", r)
	}
	s.must(s.SetStock(ctx, "1", 9, 5)) // a raise needs no pause
	if r := s.reserve("1", s.users(1, 1)[0], 3); r.Code != client.CodeReserved {
		t.Errorf("all that was added: %+v", r)
	}
	s.holds("1")
}

// TestWaitingBuyersAreBoundedAndAnsweredAtTheEnd: the other shard is away and is asked for long; one buyer
// may wait, the next is told busy, and whoever waits is answered truthfully when the shard stops.
func TestWaitingBuyersAreBoundedAndAnsweredAtTheEnd(t *testing.T) {
	s := startShards(t, 2, func(c *counter.Config) {
		c.Borrow = counter.BorrowConfig{Waiting: 1, Wait: 8 * time.Second, PeerTimeout: 8 * time.Second}
	})
	s.open("1", 1, 0) // the first shard has it
	s.stop(0)
	users := s.users(1, 2)
	first, second := s.buyer(1), s.buyer(1)
	first.send(request("RESERVE", "1", users[0], "1", ""))
	servicetest.Eventually(t, 30*time.Second, "the first waits", func() bool {
		return s.metric(1, "headgate_counter_borrow_waiting") == "1"
	})
	second.send(request("RESERVE", "1", users[1], "1", ""))
	if got := second.reply(); !strings.HasPrefix(got, "-BUSY ") {
		t.Errorf("one too many: %s", got)
	}
	second.send(request("PING"))
	if got := second.reply(); got != "+PONG" {
		t.Errorf("afterwards: %s", got)
	}
	began := time.Now()
	s.stop(1)
	if got := first.reply(); !strings.HasPrefix(got, "-TRYAGAIN ") {
		t.Errorf("when the shard stops: %s", got)
	}
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// TestPipelinedBuyersOfADryShard: several requests of one connection wait together and are answered in order.
func TestPipelinedBuyersOfADryShard(t *testing.T) {
	s := startShards(t, 2)
	s.open("1", 7, 0) // four and three
	users := s.users(1, 10)
	c := s.buyer(1)
	var batch strings.Builder
	for i, user := range users {
		batch.WriteString(request("RESERVE", "1", user, "1", ""))
		if i%3 == 0 {
			batch.WriteString(request("PING", user))
		}
	}
	c.send(batch.String())
	got := make(map[string]int)
	for i, user := range users {
		word, _, _ := strings.Cut(strings.TrimPrefix(c.reply(), `["`), `"`)
		got[word]++
		if i%3 == 0 {
			if pong := c.reply(); !strings.Contains(pong, user) {
				t.Fatalf("after the answer to %s came %s", user, pong)
			}
		}
	}
	if got["reserved"] != 7 || got["sold_out"] != 3 {
		t.Errorf("answers: %v", got)
	}
	s.holds("1")
}

// buyer is a raw connection with the client's password.
func (s *shards) buyer(at int) *socket {
	s.t.Helper()
	c := dial(s.t, s.running[at].Addr())
	c.send(request("AUTH", "client-password"))
	if got := c.reply(); got != "+OK" {
		s.t.Fatalf("AUTH: %s", got)
	}
	return c
}

// metric is one line's value among a shard's metrics, "" without.
func (s *shards) metric(at int, name string) string {
	var text bytes.Buffer
	s.running[at].rt.Metrics.WritePrometheus(&text)
	for line := range strings.SplitSeq(text.String(), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	return ""
}
