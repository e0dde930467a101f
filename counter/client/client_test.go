package client_test

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

	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/counter/replica"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type server struct {
	*counter.Server
	stop func()
}

func serverConfig(dir, listen string) counter.Config {
	cfg := counter.DefaultConfig()
	cfg.Service.Admin, cfg.RaftListen = "", ""
	cfg.Service.DrainFor = 5 * time.Second
	cfg.Listen, cfg.DataDir, cfg.Bootstrap = listen, dir, true
	return cfg
}

func start(t testing.TB, cfg counter.Config, opts ...counter.Option) *server {
	t.Helper()
	small := counter.WithReplica(func(c *replica.Config) { c.SegmentBytes = 1 << 20 })
	s, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", servicetest.Log(t)), append([]counter.Option{small}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the counter's end: %v", err)
		}
	})
	t.Cleanup(stop)
	return &server{Server: s, stop: stop}
}

func clientConfig(addresses ...string) client.Config {
	cfg := client.DefaultConfig()
	cfg.Shards[0].Addresses = addresses
	cfg.Timeout = 30 * time.Second // in tests that fake no counter, what stalls must not look like an absence
	return cfg
}

func open(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func terms(id string, stock, limit int64) sale.Terms {
	return sale.Terms{
		ID: id, Revision: 1, Stock: stock, Limit: limit, OpensAt: 1767225600000, HoldForMillis: 30_000,
		RetainForMillis: 86_400_000, Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
}

func openSale(t testing.TB, c *client.Client, id string, stock, limit int64) {
	t.Helper()
	if err := c.OpenSale(t.Context(), terms(id, stock, limit)); err != nil {
		t.Fatalf("opening sale %s: %v", id, err)
	}
	if err := c.ResumeSale(t.Context(), id, 2); err != nil {
		t.Fatalf("resuming sale %s: %v", id, err)
	}
}

func TestEveryCall(t *testing.T) {
	cfg := serverConfig(t.TempDir(), "127.0.0.1:0")
	cfg.ClientPassword, cfg.OperatorPassword = "buyer", "operator"
	s := start(t, cfg)
	cc := clientConfig(s.Addr())
	cc.ClientPassword, cc.OperatorPassword = "buyer", "operator"
	c := open(t, cc)
	ctx := t.Context()

	if r, err := c.Reserve(ctx, "1", "u1", 1, ""); err != nil || r.Code != client.CodeNoSale || !r.Refused() {
		t.Errorf("reserving of no sale: %+v, %v", r, err)
	}
	for name, err := range map[string]error{
		"info":  second(c.SaleInfo(ctx, "1")),
		"user":  second(c.UserOrders(ctx, "1", "u1")),
		"holds": second(c.Holds(ctx, "1", sale.Held, 0, 10)),
		"audit": second(c.Audit(ctx, "1")),
		"pause": c.PauseSale(ctx, "1", 2),
	} {
		if !errors.Is(err, client.ErrNoSale) {
			t.Errorf("%s of no sale: %v", name, err)
		}
	}
	if err := c.OpenSale(ctx, terms("1", 10, 2)); err != nil {
		t.Error(err)
	}
	openSale(t, c, "1", 10, 2) // the same again
	conflict := (*client.ConflictError)(nil)
	if err := c.OpenSale(ctx, terms("1", 11, 2)); !errors.As(err, &conflict) || conflict.Revision != 2 {
		t.Errorf("another sale under the same id: %v", err)
	}

	first, err := c.Reserve(ctx, "1", "u1", 2, "k")
	if err != nil || first.Code != client.CodeReserved || first.State != sale.Held || first.Quantity != 2 || first.Slot != 1 || first.ExpiresAt == 0 || first.Order == 0 {
		t.Fatalf("reserving: %+v, %v", first, err)
	}
	again, err := c.Reserve(ctx, "1", "u1", 2, "k")
	if err != nil || again.Code != client.CodeAlready || again.Order != first.Order {
		t.Errorf("reserving again: %+v, %v", again, err)
	}
	if r, err := c.Reserve(ctx, "1", "u1", 1, "l"); err != nil || r.Code != client.CodeLimit || r.Detail != 2 {
		t.Errorf("reserving over the limit: %+v, %v", r, err)
	}
	wrong := (*client.RequestError)(nil)
	if _, err := c.Reserve(ctx, "1", "u 1", 1, ""); !errors.As(err, &wrong) || wrong.Field != "user" {
		t.Errorf("a user with a space: %v", err)
	}
	second, err := c.Reserve(ctx, "1", "u2", 1, "")
	if err != nil {
		t.Fatal(err)
	}

	foreign := sale.MakeOrderID(1, 9, 1)
	codes, err := c.Confirm(ctx, first.Order, 1, foreign)
	if err != nil || len(codes) != 3 || codes[0] != client.ConfirmConfirmed || codes[1] != client.ConfirmUnknown || codes[2] != client.ConfirmUnavailable {
		t.Errorf("confirming: %v, %v", codes, err)
	}
	if _, err := c.Confirm(ctx, 0); !errors.As(err, &wrong) {
		t.Errorf("confirming order 0: %v", err)
	}
	if codes, err := c.Confirm(ctx); err != nil || len(codes) != 0 {
		t.Errorf("confirming nothing: %v, %v", codes, err)
	}
	for _, step := range []struct {
		call func(context.Context, sale.OrderID, string) (string, error)
		id   sale.OrderID
		want string
	}{
		{c.Abort, first.Order, client.StillConfirmed},
		{c.Release, second.Order, client.StillHeld},
		{c.Abort, second.Order, client.Released},
		{c.Abort, second.Order, client.Released},
		{c.Release, first.Order, client.Released},
		{c.Release, first.Order, client.Already},
		{c.Release, 1, client.UnknownOrder},
		{c.Abort, 1, client.UnknownOrder},
	} {
		if got, err := step.call(ctx, step.id, "because"); err != nil || got != step.want {
			t.Errorf("order %s: got %q, %v; want %q", step.id, got, err, step.want)
		}
	}
	if _, err := c.Abort(ctx, foreign, ""); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("aborting another shard's order: %v", err)
	}

	h, err := c.Order(ctx, first.Order)
	if err != nil || h.Sale != "1" || h.User != "u1" || h.Key != "k" || h.State != sale.Released || h.Reason != "because" || h.ReservedAt == 0 {
		t.Errorf("order: %+v, %v", h, err)
	}
	if _, err := c.Order(ctx, 1); !errors.Is(err, client.ErrNoOrder) {
		t.Errorf("no order: %v", err)
	}
	if holds, err := c.UserOrders(ctx, "1", "u1"); err != nil || len(holds) != 1 || holds[0].Order != first.Order {
		t.Errorf("orders of a user: %+v, %v", holds, err)
	}
	if holds, err := c.Holds(ctx, "1", sale.Released, 0, 1); err != nil || len(holds) != 1 || holds[0].Order != first.Order {
		t.Errorf("holds: %+v, %v", holds, err)
	}
	if holds, err := c.Holds(ctx, "1", sale.Released, first.Order, 10); err != nil || len(holds) != 1 || holds[0].Order != second.Order {
		t.Errorf("the next holds: %+v, %v", holds, err)
	}

	testSaleCalls(t, c)
	testRuleCalls(t, c)
}

func TestWrongPasswordIsForbidden(t *testing.T) {
	cfg := serverConfig(t.TempDir(), "127.0.0.1:0")
	cfg.ClientPassword, cfg.OperatorPassword = "buyer", "operator"
	s := start(t, cfg)
	for name, change := range map[string]func(*client.Config){
		"none":                 func(*client.Config) {},
		"wrong":                func(c *client.Config) { c.ClientPassword = "guess" },
		"buyer's for operator": func(c *client.Config) { c.ClientPassword = "buyer" },
	} {
		cc := clientConfig(s.Addr())
		change(&cc)
		servicetest.Eventually(t, 30*time.Second, "the counter leads", func() bool { return s.Ready() == nil })
		if err := open(t, cc).OpenSale(t.Context(), terms("1", 1, 1)); !errors.Is(err, client.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// 64 callers for fewer units than they want: exactly the stock is sold, and each order once.
func TestCrowdSellsExactlyTheStock(t *testing.T) {
	const stock, callers, each = 500, 64, 20
	s := start(t, serverConfig(t.TempDir(), "127.0.0.1:0"))
	cfg := clientConfig(s.Addr())
	cfg.Timeout = 20 * time.Second
	c := open(t, cfg)
	openSale(t, c, "1", stock, 1)
	var reserved, refused atomic.Int64
	var orders sync.Map
	var crowd sync.WaitGroup
	for caller := range callers {
		crowd.Go(func() {
			for i := range each {
				user := fmt.Sprintf("u%d", (caller*each+i)/2) // everybody presses twice
				r, err := c.Reserve(t.Context(), "1", user, 1, "")
				switch {
				case err != nil:
					t.Error(err)
				case r.Code == client.CodeReserved:
					reserved.Add(1)
					if _, twice := orders.LoadOrStore(r.Order, user); twice {
						t.Errorf("order %s twice", r.Order)
					}
				case r.Refused() && r.Code != client.CodeSoldOut:
					t.Errorf("refused with %s", r.Code)
				case r.Refused():
					refused.Add(1)
				}
			}
		})
	}
	crowd.Wait()
	if reserved.Load() != stock || refused.Load() == 0 {
		t.Errorf("%d of %d units were reserved, %d refused", reserved.Load(), stock, refused.Load())
	}
	var ids []sale.OrderID
	orders.Range(func(id, _ any) bool {
		ids = append(ids, id.(sale.OrderID))
		return true
	})
	codes, err := c.Confirm(t.Context(), ids...)
	for i, code := range codes {
		if code != client.ConfirmConfirmed {
			t.Errorf("order %s: %s", ids[i], code)
		}
	}
	audit, auditErr := c.Audit(t.Context(), "1")
	if err != nil || auditErr != nil || !audit.Holds || audit.Total.ConfirmedOrders != stock || audit.Total.Available != 0 {
		t.Errorf("audit: %+v, %v, %v", audit, err, auditErr)
	}
}

func TestCounterIsAway(t *testing.T) {
	address := servicetest.FreePort(t)
	cfg := clientConfig(address)
	cfg.Timeout = 50 * time.Millisecond
	c := open(t, cfg)
	if _, err := c.Reserve(t.Context(), "1", "u", 1, ""); !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrUnknown) {
		t.Errorf("reserving: %v", err)
	}
	if _, err := c.Order(t.Context(), 1); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("looking up: %v", err)
	}
	codes, err := c.Confirm(t.Context(), 1, 2)
	if err != nil || len(codes) != 2 || codes[0] != client.ConfirmUnavailable || codes[1] != client.ConfirmUnavailable {
		t.Errorf("confirming: %v, %v", codes, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Confirm(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("confirming with an ended context: %v", err)
	}

	// It is used as soon as it comes, and again after it was gone.
	dir := filepath.Join(t.TempDir(), "data")
	cfg.Timeout = 10 * time.Second
	c = open(t, cfg)
	s := start(t, serverConfig(dir, address))
	openSale(t, c, "1", 100, 0)
	first, err := c.Reserve(t.Context(), "1", "u1", 1, "k")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.stop()
		s = start(t, serverConfig(dir, address))
		if r, err := c.Reserve(t.Context(), "1", "u1", 1, "k"); err != nil || r.Code != client.CodeAlready || r.Order != first.Order {
			t.Errorf("after a restart: %+v, %v", r, err)
		}
	}
}

// The counter restarts while a crowd buys: nobody is told that something certainly did not happen that
// did, and nothing is sold twice.
func TestCrowdWhileTheCounterRestarts(t *testing.T) {
	address := servicetest.FreePort(t)
	dir := t.TempDir()
	s := start(t, serverConfig(dir, address))
	cfg := clientConfig(address)
	cfg.Timeout = 10 * time.Second
	c := open(t, cfg)
	const stock, callers = 300, 16
	openSale(t, c, "1", stock, 0)
	var held sync.Map
	var sold atomic.Int64
	var next atomic.Int64
	var crowd sync.WaitGroup
	for range callers {
		crowd.Go(func() {
			for {
				user := fmt.Sprintf("u%d", next.Add(1))
				r, err := c.Reserve(t.Context(), "1", user, 1, "k")
				if err != nil {
					t.Errorf("%s: %v", user, err)
					return
				}
				if r.Refused() {
					if r.Code != client.CodeSoldOut {
						t.Errorf("%s: %s", user, r.Code)
					}
					return
				}
				if other, twice := held.LoadOrStore(r.Order, user); twice {
					t.Errorf("order %s for %s and %s", r.Order, user, other)
				}
				sold.Add(1)
			}
		})
	}
	for part := range 3 {
		servicetest.Eventually(t, 30*time.Second, "some are sold", func() bool { return sold.Load() >= int64(part+1)*stock/5 })
		s.stop()
		s = start(t, serverConfig(dir, address))
	}
	crowd.Wait()
	audit, err := c.Audit(t.Context(), "1")
	if err != nil || !audit.Holds || audit.Total.Held != stock || sold.Load() != stock {
		t.Errorf("%d were told that they hold one of %d; audit %+v, %v", sold.Load(), stock, audit, err)
	}
}

func TestConfigProblems(t *testing.T) {
	for want, change := range map[string]func(*client.Config){
		"shards":                 func(c *client.Config) { c.Shards = nil },
		"shards[0].name":         func(c *client.Config) { c.Shards[0].Name = "a b" },
		"shards[0].number":       func(c *client.Config) { c.Shards[0].Number = 2000 },
		"shards[0].addresses":    func(c *client.Config) { c.Shards[0].Addresses = nil },
		"shards[0].addresses[0]": func(c *client.Config) { c.Shards[0].Addresses = []string{"nowhere"} },
		"shards[1].number": func(c *client.Config) {
			c.Shards = append(c.Shards, client.Shard{Name: "s2", Addresses: []string{"h:1"}})
		},
		"shards[1].name": func(c *client.Config) {
			c.Shards = append(c.Shards, client.Shard{Name: "s1", Number: 1, Addresses: []string{"h:1"}})
		},
		"connections": func(c *client.Config) { c.Connections = 0 },
		"timeout":     func(c *client.Config) { c.Timeout = 0 },
	} {
		cfg := client.DefaultConfig()
		change(&cfg)
		_, err := client.Open(cfg)
		problems := (*config.Error)(nil)
		if !errors.As(err, &problems) || len(problems.Problems) != 1 || problems.Problems[0].Field != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}
