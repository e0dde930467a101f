package interceptor

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/config"
)

// newBareServer is a Server without a listener, good for making plans.
func newBareServer(cfg *Config) (*Server, error) {
	s := &Server{clock: time.Now}
	s.opened = s.now()
	set := metrics.NewSet()
	s.figures = newFigures(set)
	s.log = newAccessLog(slog.New(slog.DiscardHandler), cfg.LogRefusalsPerSecond, s.figures.suppressed)
	s.upstreams = proxy.NewSet(proxy.Options{Metrics: set, Now: s.now})
	return s, s.prepareState(cfg)
}

// Whatever a config file says, either its problems have a place and a reason, or a server can be made of
// it and it can be reloaded.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "listen: 127.0.0.1:1", "limits: {node_bucket: {mode: enforce, rate: 0.001, burst: 1000000}}",
		"limits: {user_interval: {every: 1ms}, user_bucket: {mode: shadow, rate: 1e9, burst: 1}, max_tracked_users: 1000}",
		"routes:\n- {name: a, path: '/a/{sale}', methods: [POST], kind: reserve, upstream: backend, queue: {rate: 1, length: 2, max_wait: 1s}}\n",
		"routes:\n- {name: b, path: /b/*, methods: [GET], upstream: backend, auth: none, address_bucket: {rate: 0.5, burst: 3}, bucket: {rate: 10, burst: 3}}\n",
		"upstreams:\n- {name: backend, addresses: ['a:1', 'b:2']}\n- {name: other, addresses: ['c:1']}\n",
		"trusted_proxies: [10.0.0.0/8, '::1', x]\nstages: {blacklist: {mode: shadow}}\n",
		"strikes: {too_soon: {mode: enforce, count: 3, window: 1s, ban_for: 1m}}", "x-a: &a {mode: off}\nlimits: {node_bucket: *a}",
	} {
		f.Add([]byte(keysYAML + text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := DefaultConfig()
		if err := config.Parse("edge.yaml", text, &c); err != nil {
			var wrong *config.Error
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 {
				t.Fatalf("a refusal without problems: %v", err)
			}
			for _, p := range wrong.Problems {
				if p.File != "edge.yaml" || p.Line < 1 || p.Reason == "" {
					t.Fatalf("a problem without a place or a reason: %+v", p)
				}
			}
			return
		}
		s, err := newBareServer(&c)
		if err != nil {
			t.Fatalf("a valid config: %v", err)
		}
		p, err := s.newPlan(c)
		if err != nil {
			t.Fatalf("a valid config: %v", err)
		}
		s.install(p)
		again := DefaultConfig()
		err = config.ParseChecked("edge.yaml", text, &again, func(p *config.Problems) { s.CheckReload(&again, p) })
		if err != nil {
			t.Fatalf("the same config again: %v", err)
		}
		if changed := config.Changed(&c, &again); len(changed) > 0 {
			t.Fatalf("the same text gives other values: %v", changed)
		}
		if config.Hash(&c) != config.Hash(&again) {
			t.Fatal("the same config has another hash")
		}
		if err := s.Reload(again); err != nil {
			t.Fatalf("reloading the same config: %v", err)
		}
		s.upstreams.Close()
	})
}
