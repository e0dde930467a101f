package cli

import (
	"strings"
	"testing"

	"headgate.example/interceptor"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

// fakeEdge stands for the interceptor in a process.
type fakeEdge struct {
	service.Program
	taken []interceptor.Config
}

func (f *fakeEdge) CheckReload(next *interceptor.Config, p *config.Problems) {
	if next.Listen != interceptor.DefaultConfig().Listen {
		p.Addf("listen", service.NotWhileRunning)
	}
}

func (f *fakeEdge) Reload(next interceptor.Config) error {
	f.taken = append(f.taken, next)
	return nil
}

// Of the one process only the edge takes a changed config.
func TestOneProcessReloadsItsEdge(t *testing.T) {
	edge := &fakeEdge{}
	rt := service.NewRuntime("interceptor", nil)
	cfg := DefaultConfig()
	d := &Dev{stack: newStack()}
	d.stack.layers = []*running{{layer: layer{name: "counter"}}, {layer: layer{name: "interceptor", rt: rt}, program: edge}}
	d.config.Store(&cfg)

	problems := func(change func(*Config)) string {
		next := DefaultConfig()
		change(&next)
		var p config.Problems
		d.CheckReload(&next, &p)
		if p.Err() == nil {
			return ""
		}
		return p.Err().Error()
	}
	if got := problems(func(c *Config) { c.Interceptor.Limits.UserBucket.Rate = 3 }); got != "" {
		t.Errorf("a limit: %s", got)
	}
	got := problems(func(c *Config) {
		c.Backend.Listen, c.Consumer.Service.LogLevel, c.Interceptor.Listen = "a:1", "debug", "b:1"
	})
	for _, want := range []string{"backend.listen: cannot be changed", "consumer.service.log_level: cannot be changed", "interceptor.listen: cannot be changed"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	next := DefaultConfig()
	next.Interceptor.Limits.UserBucket.Rate = 3
	if err := d.Reload(next); err != nil || len(edge.taken) != 1 || edge.taken[0].Limits.UserBucket.Rate != 3 {
		t.Errorf("%v, taken %d", err, len(edge.taken))
	}
	if rt.ConfigHash() != config.Hash(&next.Interceptor) {
		t.Error("the admin port does not show what runs")
	}
	next.Interceptor.Limits.UserBucket.Rate = 4
	if changed := config.Changed(d.config.Load(), &next); len(changed) != 1 {
		t.Errorf("the next change is compared with an older config: %v", changed)
	}
}
