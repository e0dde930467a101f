package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/backend/audit"
	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/interceptor"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// rig is the real layers, put together with places where a schedule can break them: HTTP at the edge,
// RESP to the counter, a queue and a ledger on disk.
type rig struct {
	t      *testing.T
	cfg    Config
	signer *auth.Signer

	edgeCounter     *hookedCounter // as the edge sees the counter
	consumerCounter *hookedCounter // as the consumer sees it
	publishing      *queuetest.Faulty
	consuming       *queuetest.Faulty
	ledger          *store.Store
	client          *client.Client

	stopCounter, stopConsumer func()
}

// hookedCounter passes calls on, unless a hook takes them.
type hookedCounter struct {
	*client.Client
	mu      sync.Mutex
	confirm func(ctx context.Context, ids []sale.OrderID) ([]client.ConfirmCode, error)
	abort   func(ctx context.Context, id sale.OrderID, reason string) (string, error)
	release func(ctx context.Context, id sale.OrderID, reason string) (string, error)
}

func (c *hookedCounter) set(change func(c *hookedCounter)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *hookedCounter) Confirm(ctx context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error) {
	c.mu.Lock()
	hook := c.confirm
	c.mu.Unlock()
	if hook != nil {
		return hook(ctx, ids)
	}
	return c.Client.Confirm(ctx, ids...)
}

func (c *hookedCounter) Abort(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	c.mu.Lock()
	hook := c.abort
	c.mu.Unlock()
	if hook != nil {
		return hook(ctx, id, reason)
	}
	return c.Client.Abort(ctx, id, reason)
}

func (c *hookedCounter) Release(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	c.mu.Lock()
	hook := c.release
	c.mu.Unlock()
	if hook != nil {
		return hook(ctx, id, reason)
	}
	return c.Client.Release(ctx, id, reason)
}

// rigConfig is the config that `headgate dev` writes, on free ports and in a hurry.
func rigConfig(t *testing.T) Config {
	t.Helper()
	folder := t.TempDir()
	text, err := renderConfig(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:8180", "127.0.0.1:7380", "127.0.0.1:8090"} {
		text = strings.ReplaceAll(text, address, servicetest.FreePort(t))
	}
	cfg := DefaultConfig()
	if err := config.Parse("rig.yaml", []byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Interceptor.Limits.UserInterval.Every = time.Millisecond
	cfg.Interceptor.Strikes.TooSoon.Mode = interceptor.ModeOff // press asks until it is taken up
	cfg.Interceptor.PollInterval = 50 * time.Millisecond
	// The consumer's calls of the counter that a schedule holds up end after a moment; whatever else a stall of the
	// machine makes slow has the time that it takes.
	cfg.Consumer.Counter.Timeout = 2 * time.Second
	cfg.Consumer.Service.DrainFor = 2500 * time.Millisecond
	cfg.Backend.Counter.Timeout, cfg.Interceptor.Counter.Timeout = 10*time.Second, 10*time.Second
	up := &cfg.Interceptor.Upstreams[0]
	up.Timeout, up.ConnectTimeout, up.MaxWait = 20*time.Second, 20*time.Second, 20*time.Second
	cfg.Interceptor.Service.DrainFor, cfg.Backend.Service.DrainFor = time.Minute, time.Minute
	cfg.Consumer.OutboxInterval = 20 * time.Millisecond
	return cfg
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, cfg: rigConfig(t)}
	log := servicetest.Log(t)
	var err error
	if r.signer, err = auth.NewSigner(r.cfg.Tokens()); err != nil {
		t.Fatal(err)
	}
	r.startCounter()
	if r.ledger, err = store.Open(t.Context(), r.cfg.Backend.Database, log); err != nil {
		t.Fatal(err)
	}
	if err := r.ledger.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.client = r.openClient()
	r.edgeCounter = &hookedCounter{Client: r.openClient()}
	r.consumerCounter = &hookedCounter{Client: r.openClient()}
	r.publishing = queuetest.NewFaulty(r.openQueue())
	r.consuming = queuetest.NewFaulty(r.openQueue())
	t.Cleanup(func() { _ = r.consuming.Close(); _ = r.ledger.Close() })

	r.run("backend", &r.cfg.Backend, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
		return backend.Open(ctx, r.cfg.Backend, rt, backend.WithQueue(r.publishing)) // which closes it
	})
	r.startConsumer()
	r.run("interceptor", &r.cfg.Interceptor, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
		return interceptor.Open(ctx, r.cfg.Interceptor, rt, interceptor.WithCounter(r.edgeCounter))
	})
	return r
}

func (r *rig) openClient() *client.Client {
	r.t.Helper()
	c, err := client.Open(r.cfg.Backend.Counter)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *rig) openQueue() queue.Queue {
	r.t.Helper()
	q, err := open.Open(r.t.Context(), r.cfg.Backend.Queue, servicetest.Log(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

// run opens a layer and serves it until the test ends or what it gives is called.
func (r *rig) run(name string, cfg any, open func(context.Context, *service.Runtime) (service.Program, error)) (stop func()) {
	r.t.Helper()
	l := newLayer(name, servicetest.Log(r.t), cfg, open)
	s := newStack()
	err := s.start(context.Background(), l)
	if err == nil {
		err = s.ready(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := s.stop(name); err != nil {
			r.t.Errorf("stopping: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) startCounter(options ...counter.Option) {
	r.t.Helper()
	r.stopCounter = r.run("counter", &r.cfg.Counter, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
		return counter.Open(ctx, r.cfg.Counter, rt, options...)
	})
}

func (r *rig) startConsumer(options ...consumer.Option) {
	r.t.Helper()
	options = append([]consumer.Option{consumer.WithCounter(r.consumerCounter), consumer.WithQueue(r.consuming), consumer.WithLedger(r.ledger)}, options...)
	r.stopConsumer = r.run("consumer", &r.cfg.Consumer, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
		return consumer.Open(ctx, r.cfg.Consumer, rt, options...)
	})
}

// open creates and opens a sale through the edge, as an operator does.
func (r *rig) open(s NewSale) {
	r.t.Helper()
	if s.OpensAt == 0 {
		s.OpensAt = time.Now().Add(-time.Second).UnixMilli()
	}
	api, err := NewAPI(r.cfg.APIAddress(), r.cfg.Tokens())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := api.OpenSale(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
}

// pressed is what a buyer is told.
type pressed struct {
	Status  int
	OrderID string `json:"order_id"`
	Code    string `json:"code"`
	Ticket  string `json:"ticket"`
}

// press presses the button for one unit; header names and values follow the user. A press that comes
// too soon is pressed again.
func (r *rig) press(saleID, user string, headers ...string) pressed {
	r.t.Helper()
	var p pressed
	servicetest.Eventually(r.t, 30*time.Second, "the press of "+user+" is taken up", func() bool {
		p = r.request(http.MethodPost, "/api/sales/"+saleID+"/orders", user, `{"quantity":1}`, headers...)
		return p.Code != "too_soon"
	})
	return p
}

func (r *rig) request(method, path, user, body string, headers ...string) pressed {
	r.t.Helper()
	token, _, err := r.signer.SignFor(user, user, nil, time.Now())
	if err != nil {
		r.t.Error(err)
		return pressed{}
	}
	request, err := http.NewRequest(method, r.cfg.APIAddress()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Error(err)
		return pressed{}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Error(err)
		return pressed{}
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Error(err)
	}
	var p pressed
	var fields struct {
		pressed
		Status any `json:"status"`
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		r.t.Errorf("%s %s: %d %q", method, path, response.StatusCode, text)
	}
	p = fields.pressed
	p.Status = response.StatusCode
	return p
}

// want fails the test unless the answer is as wanted: a status, or a status and a code.
func (r *rig) want(p pressed, status int, code string) {
	r.t.Helper()
	if p.Status != status || p.Code != code {
		r.t.Fatalf("told %d %s %s, want %d %s", p.Status, p.Code, p.OrderID, status, code)
	}
}

func (r *rig) id(text string) sale.OrderID {
	r.t.Helper()
	id, err := sale.ParseOrderID(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// state waits until the ledger has an order in the state.
func (r *rig) state(id string, want sale.OrderState) {
	r.t.Helper()
	var got sale.OrderState
	servicetest.Eventually(r.t, 30*time.Second, "order "+id+" is "+string(want), func() bool {
		orders, err := r.ledger.OrdersByIDs(context.Background(), []sale.OrderID{r.id(id)})
		if err != nil {
			r.t.Error(err)
		}
		if len(orders) == 1 {
			got = orders[0].State
		}
		return got == want
	})
}

// hold waits until the counter has an order's hold in the state.
func (r *rig) hold(id string, want sale.HoldState) {
	r.t.Helper()
	servicetest.Eventually(r.t, 30*time.Second, "hold "+id+" is "+want.String(), func() bool {
		h, err := r.client.Order(context.Background(), r.id(id))
		return err == nil && h.State == want
	})
}

// settled waits until the audit holds and the sale's units stand as given.
func (r *rig) settled(saleID string, sold, available int64) {
	r.t.Helper()
	var report audit.Report
	depth := func(ctx context.Context) (queue.Depth, error) { return r.consuming.Depth(ctx, consumer.Topic) }
	holds := func() bool {
		report = audit.Run(context.Background(), r.client, r.ledger, depth, audit.Options{Sale: saleID, Grace: time.Second})
		return report.Verdict == audit.Holds && report.Queue.String() == (queue.Depth{}).String() && *report.Ledger == (audit.Backlog{})
	}
	defer func() {
		if r.t.Failed() {
			_ = WriteAudit(r.t.Output(), report)
		}
	}()
	servicetest.Eventually(r.t, 30*time.Second, "the audit of sale "+saleID+" holds", holds)
	c := report.Sales[0].Counter
	totals, err := r.ledger.SaleTotals(context.Background(), saleID)
	if err != nil || totals.Sold != sold || c.Confirmed != sold || c.Available != available || c.Held != 0 {
		r.t.Errorf("sold %d in the ledger, confirmed %d, available %d, held %d (%v); want %d sold, %d available", totals.Sold, c.Confirmed, c.Available, c.Held, err, sold, available)
	}
}
