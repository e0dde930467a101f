package proxy

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"headgate.example/lib/config"
)

func TestConfigFillsAndRefuses(t *testing.T) {
	c := Config{Name: "a", Addresses: []string{"127.0.0.1:80"}}
	if err := config.Check(&c); err != nil || !reflect.DeepEqual(c, DefaultConfig("a", "127.0.0.1:80")) {
		t.Errorf("%+v: %v", c, err)
	}
	for name, change := range map[string]func(*Config){
		"name":               func(c *Config) { c.Name = "A b" },
		"addresses":          func(c *Config) { c.Addresses = nil },
		"addresses[0]":       func(c *Config) { c.Addresses = []string{"127.0.0.1"} },
		"addresses[1]":       func(c *Config) { c.Addresses = append(c.Addresses, c.Addresses[0]) },
		"host":               func(c *Config) { c.Host = "a b" },
		"timeout":            func(c *Config) { c.Timeout = -1 },
		"connect_timeout":    func(c *Config) { c.ConnectTimeout = time.Hour },
		"max_wait":           func(c *Config) { c.MaxWait = time.Minute },
		"idle_timeout":       func(c *Config) { c.IdleTimeout = 1 },
		"max_connections":    func(c *Config) { c.MaxConnections = -1 },
		"max_long_polls":     func(c *Config) { c.MaxLongPolls = MaxConnections + 1 },
		"max_in_flight":      func(c *Config) { c.MaxInFlight = -1 },
		"max_waiting":        func(c *Config) { c.MaxWaiting = -1 },
		"max_response_bytes": func(c *Config) { c.MaxResponseBytes = 1 },
		"health.path":        func(c *Config) { c.Health.Path = "healthz" },
		"health.interval":    func(c *Config) { c.Health.Interval = time.Hour },
		"health.timeout":     func(c *Config) { c.Health.Timeout = -1 },
		"health.down_after":  func(c *Config) { c.Health.DownAfter = -1 },
		"health.up_after":    func(c *Config) { c.Health.UpAfter = 1000 },
		"eject.after":        func(c *Config) { c.Eject.After = -1 },
		"eject.pause":        func(c *Config) { c.Eject.Pause = time.Hour; c.Eject.MaxPause = time.Hour },
		"eject.max_pause":    func(c *Config) { c.Eject.MaxPause = 1 },
		"breaker.ratio":      func(c *Config) { c.Breaker.Ratio = 1.5 },
		"breaker.requests":   func(c *Config) { c.Breaker.Requests = -1 },
		"breaker.window":     func(c *Config) { c.Breaker.Window = 1 },
		"breaker.pause":      func(c *Config) { c.Breaker.Pause = 1 },
		"breaker.probes":     func(c *Config) { c.Breaker.Probes = -1 },
	} {
		c := DefaultConfig("a", "127.0.0.1:80")
		change(&c)
		var wrong *config.Error
		if err := config.Check(&c); !errors.As(err, &wrong) || wrong.Problems[0].Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}
