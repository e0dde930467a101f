//go:build unix

package apptest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/apptest/edges"
	"headgate.example/apptest/signer"
)

const (
	edgeUsers  = 30_000
	edgeBudget = 5
	// steadyRounds are so many requests of each user before an edge is killed and another added, laterRounds
	// after it. Together they would use two budgets up.
	steadyRounds = edgeBudget + 1
	laterRounds  = edgeBudget
)

// budgetCrowd is users who ask edges at random.
type budgetCrowd struct {
	t        *testing.T
	tokens   []string
	admitted []atomic.Int32
	owner    []atomic.Pointer[string] // by the affinity cookie
	other    atomic.Int64             // answers that are neither 200, 429, nor 503 for a reason that reading has
	away     atomic.Int64             // 503
	lastAway atomic.Int64             // when, by the watch
	watch    *stopwatch
	failed   atomic.Int64 // requests to an edge that is gone

	mu      sync.Mutex
	clients []*fasthttp.HostClient // of the edges that are asked
}

func (c *budgetCrowd) ask(edges ...*edges.Edge) {
	var clients []*fasthttp.HostClient
	for _, e := range edges {
		clients = append(clients, &fasthttp.HostClient{Addr: e.Address, MaxConns: 128, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
			MaxIdemponentCallAttempts: 1, RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false }})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = clients
}

func (c *budgetCrowd) anyClient() *fasthttp.HostClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[rand.IntN(len(c.clients))]
}

// run has each user send so many requests, each to an edge at random; after a twentieth of them it calls middle, so that most come after it.
func (c *budgetCrowd) run(rounds int, middle func()) {
	var next atomic.Int64
	total := int64(rounds * len(c.tokens))
	var once sync.Once
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(req)
			defer fasthttp.ReleaseResponse(resp)
			for {
				job := next.Add(1) - 1
				if job >= total {
					return
				}
				if middle != nil && job >= total/20 {
					once.Do(func() { group.Go(middle) })
				}
				c.request(int(job)%len(c.tokens), req, resp)
			}
		})
	}
	group.Wait()
}

func (c *budgetCrowd) request(user int, req *fasthttp.Request, resp *fasthttp.Response) {
	client := c.anyClient()
	req.Reset()
	resp.Reset()
	req.SetRequestURI("http://" + client.Addr + "/api/orders")
	req.Header.Set("Authorization", "Bearer "+c.tokens[user])
	if err := client.Do(req, resp); err != nil {
		c.failed.Add(1)
		return
	}
	switch resp.StatusCode() {
	case 200:
		c.admitted[user].Add(1)
	case 429:
	case 503:
		c.away.Add(1)
		c.lastAway.Store(int64(c.watch.now()))
		if len(resp.Header.Peek("Retry-After")) == 0 {
			c.t.Error("a 503 without Retry-After")
		}
		if code := string(resp.Header.Peek("Headgate-Code")); code != "unavailable" && code != "overloaded" {
			c.other.Add(1)
		}
	default:
		c.other.Add(1)
	}
	if c.owner[user].Load() == nil {
		if cookie := resp.Header.PeekCookie("headgate_edge"); cookie != nil {
			name, _, _ := strings.Cut(strings.TrimPrefix(string(cookie), "headgate_edge="), ";")
			c.owner[user].Store(&name)
		}
	}
}

// TestThreeEdgesKeepOneBudget has 30,000 users, each allowed 5 requests, send them to three edges at random:
// each gets exactly 5. Then one edge is killed and another added in the middle: who may get more are the
// users of the edge that was killed, and at most one budget more.
func TestThreeEdgesKeepOneBudget(t *testing.T) {
	cluster := edges.New(t, edges.Spec{Bin: bin, Edges: 4, Limits: fmt.Sprintf("{user_bucket: {rate: 0.001, burst: %d}}", edgeBudget)})
	three, killed, added := cluster.Edges[:3], cluster.Edges[2], cluster.Edges[3]
	for _, e := range three {
		e.Start()
	}
	waitFor(t, patience, "three edges agree", func() bool { return edges.Agreed(three...) })
	crowd := &budgetCrowd{t: t, watch: startStopwatch(t), tokens: signer.New().Many("u", edgeUsers), admitted: make([]atomic.Int32, edgeUsers), owner: make([]atomic.Pointer[string], edgeUsers)}
	crowd.ask(three...)
	began := time.Now()
	crowd.run(steadyRounds, nil)
	t.Logf("steady: %d requests in %s, %.0f hops", steadyRounds*edgeUsers, time.Since(began).Round(time.Millisecond), cluster.Metric(`headgate_edge_hops_total{outcome="served"}`))
	for i := range crowd.admitted {
		if got := crowd.admitted[i].Load(); got != edgeBudget {
			t.Fatalf("user %d: %d requests admitted, want %d", i, got, edgeBudget)
		}
	}
	if crowd.away.Load()+crowd.other.Load()+crowd.failed.Load() > 0 {
		t.Errorf("%d unavailable, %d other answers, %d failures while nothing happened", crowd.away.Load(), crowd.other.Load(), crowd.failed.Load())
	}

	var killedAt time.Duration
	began = time.Now()
	crowd.run(laterRounds, func() {
		killed.Kill()
		killedAt = crowd.watch.now()
		added.Start()
		crowd.ask(three[0], three[1], added)
	})
	over, extra, most := 0, 0, 0
	for i := range crowd.admitted {
		got := int(crowd.admitted[i].Load())
		if got <= edgeBudget {
			continue
		}
		over++
		extra += got - edgeBudget
		most = max(most, got)
		if owner := crowd.owner[i].Load(); owner == nil || *owner != killed.Name {
			t.Errorf("user %d of %v: %d requests admitted, though the owner did not die", i, owner, got)
		}
	}
	if most > 2*edgeBudget {
		t.Errorf("a user was admitted %d times, at most %d are possible after one death", most, 2*edgeBudget)
	}
	away := time.Duration(0)
	if last := crowd.lastAway.Load(); last > 0 {
		away = time.Duration(last) - killedAt
	}
	t.Logf("after a death and a join, %d requests in %s: %d users (%.1f %%) were admitted %d times more than their %d in all, none more than %d times; %d answers were unavailable, the last %s after the death; %d requests met the dead edge",
		laterRounds*edgeUsers, time.Since(began).Round(time.Millisecond), over, 100*float64(over)/edgeUsers, extra, edgeBudget, most, crowd.away.Load(), away.Round(time.Millisecond), crowd.failed.Load())
	if crowd.other.Load() > 0 || away > 5*time.Second {
		t.Errorf("%d other answers; unavailable until %s after the death", crowd.other.Load(), away)
	}
	if over > 0 && !edges.Agreed(three[0], three[1], added) {
		t.Error("the edges do not agree in the end")
	}
}
