package interceptor

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
)

// Reloads under load, 200 times: no failed request, and no balance is reset. Time stands still, so that
// nothing refills, and each budget admits exactly what it held at first.
func TestReloadsUnderLoadFailNothingAndResetNothing(t *testing.T) {
	const (
		reloads, users     = 200, 16
		callsEach, ofRoute = 25, 150
		longest            = 60 * time.Second
		nobody             = "127.0.0.1:9"
	)
	first := func(c *Config) {
		c.Limits.UserBucket = BucketRule{Rate: 0.001, Burst: callsEach}
		c.Limits.UserInterval.Every = time.Hour
		c.Strikes.TooSoon.Mode = ModeOff // they do press on
		changeRoute(c, "assets", func(r *Route) { r.Bucket = &BucketRule{Rate: 0.001, Burst: ofRoute} })
	}
	e := newEdge(t, first)
	e.counter.open("1", users, 1)
	e.fresh()
	cache := e.server.plan.Load().tokens

	var done atomic.Bool
	var calls, presses, repeats [users]atomic.Int64
	var assets, pages atomic.Int64
	var group sync.WaitGroup
	load := func(do func(i int)) {
		group.Go(func() {
			for i := 0; !done.Load(); i++ {
				do(i)
			}
		})
	}
	send := func(admitted, repeated *atomic.Int64, refusal string, status int, method, target string, headers ...string) {
		a, err := e.trySend(method, target, "", headers...)
		switch {
		case err != nil:
			t.Errorf("%s %s: %v", method, target, err)
			done.Store(true)
		case a.status == status:
			admitted.Add(1)
		case a.body.Code == "already_ordered" && repeated != nil: // has a budget of its own, of one
			repeated.Add(1)
		case a.body.Code != refusal:
			t.Errorf("%s %s: %d %s", method, target, a.status, a.text)
			done.Store(true)
		}
	}
	tokens := [users]string{}
	for i := range tokens {
		tokens[i] = "Bearer " + e.token(fmt.Sprintf("a%d", i))
	}
	load(func(i int) {
		send(&calls[i%users], nil, "rate_limited", 200, "GET", "/api/orders", "Authorization", tokens[i%users])
	})
	load(func(i int) {
		send(&presses[i%users], &repeats[i%users], "too_soon", 202, "POST", "/api/sales/1/orders", "Authorization", tokens[i%users])
	})
	load(func(int) { send(&assets, nil, "overloaded", 200, "GET", "/assets/app.js") })
	load(func(int) { send(&pages, nil, "", 200, "GET", "/") })

	spent := func() bool {
		sum := int64(0)
		for i := range users {
			sum += calls[i].Load() + presses[i].Load() + repeats[i].Load()
		}
		return done.Load() || sum == users*(callsEach+2) && assets.Load() == ofRoute
	}
	for n := range reloads {
		served := pages.Load()
		next := e.cfg
		next.Routes = DefaultRoutes()
		next.Upstreams = append(next.Upstreams[:1:1], next.Upstreams[0])
		first(&next)
		// Everything that is not what this test counts changes, there and back again.
		if n%2 == 1 {
			next.Upstreams[1].Name, next.Upstreams[1].Addresses = "other", []string{nobody}
			next.TrustedProxies = []string{"192.0.2.0/24"}
			next.Stages = map[string]Stage{stageBlacklist: {Mode: ModeShadow}}
			next.Limits.NodeBucket = BucketRule{Rate: 1e6, Burst: 1e6}
			next.Limits.AddressBucket.Mode = ModeOff
			next.LogRefusalsPerSecond = 1
			next.PollInterval = 20 * time.Millisecond
			changeRoute(&next, "order", func(r *Route) { r.Timeout = 7 * time.Second })
			next.Routes = append(next.Routes, Route{Name: "extra", Path: "/extra", Methods: []string{"GET"}, Upstream: "other"})
		} else {
			next.Upstreams = next.Upstreams[:1]
		}
		if err := config.Check(&next); err != nil {
			t.Fatal(err)
		}
		var p config.Problems
		if e.server.CheckReload(&next, &p); p.Err() != nil {
			t.Fatal(p.Err())
		}
		if err := e.server.Reload(next); err != nil {
			t.Fatal(err)
		}
		servicetest.Eventually(t, longest, "requests are served meanwhile", func() bool { return done.Load() || pages.Load() > served })
	}
	servicetest.Eventually(t, longest, "all budgets are spent", spent)
	served := pages.Load()
	servicetest.Eventually(t, longest, "more is asked for", func() bool { return done.Load() || pages.Load() > served+100 })
	done.Store(true)
	group.Wait()
	for i := range users {
		if calls[i].Load() != callsEach || presses[i].Load() != 1 || repeats[i].Load() != 1 {
			t.Errorf("user %d: %d calls admitted, want %d; %d presses and %d repeated, want 1 of each", i, calls[i].Load(), callsEach, presses[i].Load(), repeats[i].Load())
		}
	}
	if assets.Load() != ofRoute {
		t.Errorf("%d admitted on the route, want %d", assets.Load(), ofRoute)
	}
	if e.counter.confirmed() != users {
		t.Errorf("%d orders, want %d", e.counter.confirmed(), users)
	}
	if e.server.plan.Load().tokens != cache {
		t.Error("verified tokens were forgotten")
	}
	t.Logf("%d reloads, %d pages served meanwhile", reloads, pages.Load())
}

func TestReloadTakesKeysAndRoutesOver(t *testing.T) {
	e := newEdge(t, nil)
	old := e.token("a1")
	if a := e.as(old); a.status != 200 {
		t.Fatal(a.text)
	}
	next := e.cfg
	next.Tokens.Keys = append(next.Tokens.Keys[:0:0], next.Tokens.Keys...)
	next.Tokens.Keys[0].Secret = "another-secret-0123456789abcdef-01"
	next.Routes = append(DefaultRoutes(), Route{Name: "extra", Path: "/extra", Methods: []string{"GET"}, Upstream: "backend", Auth: AuthNone})
	if a := e.send("GET", "/extra", ""); a.status != 404 {
		t.Errorf("before: %d", a.status)
	}
	if err := e.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	e.refused(e.as(old), 401, "unauthenticated") // though it was verified and cached
	e.cfg = next
	if a := e.as(e.token("a1")); a.status != 200 {
		t.Error(a.text)
	}
	if a := e.send("GET", "/extra", ""); a.status != 200 {
		t.Errorf("after: %d", a.status)
	}
}

// What cannot be changed is said with its line and field, everything at once; the rest would be taken.
func TestReloadNamesWhatCannotChange(t *testing.T) {
	e := newEdge(t, nil)
	before := e.server.plan.Load()
	next := DefaultConfig()
	text := strings.Join([]string{
		"listen: 127.0.0.1:1",                         // 1
		"self: b",                                     // 2
		"peers: [{name: b, address: 'b:1'}]",          // 3
		"limits: {user_bucket: {rate: 5}}",            // 4: fine
		"server:",                                     // 5
		"  drain_grace: 1s",                           // 6: fine
		"  max_connections: 100",                      // 7
		"counter: {timeout: 1500ms}",                  // 8
		"service: {log_level: debug, drain_for: 21s}", // 9
		"routes: [{name: x, path: x, methods: [GET], upstream: b}]", // 10: wrong in itself
	}, "\n") + keysYAML
	err := config.ParseChecked("edge.yaml", []byte(text), &next, func(p *config.Problems) { e.server.CheckReload(&next, p) })
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"edge.yaml:1: listen: cannot be changed while the program runs",
		"edge.yaml:2: self: cannot be changed",
		"edge.yaml:7: server.max_connections: cannot be changed",
		"edge.yaml:8: counter.timeout: cannot be changed",
		"edge.yaml:9: service.log_level: cannot be changed",
		"edge.yaml:9: service.drain_for: cannot be changed",
		"edge.yaml:10: routes[0].path: must start with a slash",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in\n%v", want, err)
		}
	}
	for _, fine := range []string{"drain_grace", "user_bucket"} {
		if strings.Contains(err.Error(), fine) {
			t.Errorf("%s is refused:\n%v", fine, err)
		}
	}
	if e.server.plan.Load() != before {
		t.Error("something was taken over")
	}
}

func TestNodesConfiguredAlikeHaveOneHash(t *testing.T) {
	a, b := testConfig(), testConfig()
	b.Self, b.Listen, b.Service.Admin = "edge-2", "127.0.0.1:2", "127.0.0.1:3"
	if config.Hash(&a) != config.Hash(&b) {
		t.Error("names and addresses of the node itself count")
	}
	b.Limits.UserBucket.Rate++
	if config.Hash(&a) == config.Hash(&b) {
		t.Error("a limit does not count")
	}
}
