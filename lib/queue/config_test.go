package queue_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*queue.Config)
		want   string // field of the only problem; "": fine
	}{
		{"default", func(*queue.Config) {}, ""},
		{"broker", func(c *queue.Config) { c.Driver, c.URL = queue.RabbitMQ, "amqp://u:secret@h:5672/" }, ""},
		{"no driver", func(c *queue.Config) { c.Driver = "kafka" }, "driver"},
		{"no path", func(c *queue.Config) { c.Path = "" }, "path"},
		{"no url", func(c *queue.Config) { c.Driver = queue.RabbitMQ }, "url"},
		{"another scheme", func(c *queue.Config) { c.Driver, c.URL = queue.RabbitMQ, "http://u:secret@h/" }, "url"},
		{"broken url", func(c *queue.Config) { c.Driver, c.URL = queue.RabbitMQ, "amqp://u:secret@h:x/" }, "url"},
		{"prefix", func(c *queue.Config) { c.Driver, c.URL, c.Prefix = queue.RabbitMQ, "amqp://h", "a b" }, "prefix"},
		{"channels", func(c *queue.Config) { c.Driver, c.URL, c.Channels = queue.RabbitMQ, "amqp://h", 0 }, "channels"},
		{"bound", func(c *queue.Config) { c.MaxReady = -1 }, "max_ready"},
		{"low delivery limit", func(c *queue.Config) { c.DeliveryLimit = 3 }, "delivery_limit"},
		{"no time-out", func(c *queue.Config) { c.PublishTimeout, c.BrokerWait = 0, 0 }, "publish_timeout"},
		{"waits longer than the time-out", func(c *queue.Config) { c.BrokerWait = c.PublishTimeout + 1 }, "broker_wait"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := queue.DefaultConfig()
			c.change(&cfg)
			err := config.Check(&cfg)
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("%v, want it to be fine", err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want+":") || strings.Contains(err.Error(), "\n")):
				t.Fatalf("error %v, want one of %s", err, c.want)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Fatalf("the error shows the password: %v", err)
			}
		})
	}
}

func TestSubscribeDefaults(t *testing.T) {
	o, err := queue.SubscribeOptions{BatchSize: 500}.WithDefaults()
	if err != nil || o.Prefetch != 2000 {
		t.Fatalf("%+v (%v), want a prefetch of four batches", o, err)
	}
	if o, err = (queue.SubscribeOptions{BatchSize: queue.MaxPrefetch}).WithDefaults(); err != nil || o.Prefetch != queue.MaxPrefetch {
		t.Fatalf("%+v (%v), want the largest prefetch", o, err)
	}
}

func TestTopics(t *testing.T) {
	if live, ok := queue.LiveTopic(queue.DeadTopic("orders")); !ok || live != "orders" {
		t.Errorf("%q (%v)", live, ok)
	}
	if _, ok := queue.LiveTopic("orders"); ok {
		t.Error("orders is no topic of dead letters")
	}
}

// TestZeroOutcome: an outcome that nobody filled in claims nothing.
func TestZeroOutcome(t *testing.T) {
	if o := (queue.Outcome{}); o.Fate != queue.Unknown || o.Fate.String() != "unknown" {
		t.Errorf("the zero fate is %s", o.Fate)
	}
	if m := (queue.Message{Delay: time.Hour}); queue.CheckMessage(&m) != nil {
		t.Error("an empty message with a delay is fine")
	}
}

func TestBrokers(t *testing.T) {
	for address, want := range map[string][]string{
		"amqp://u:p%40@a:1/v":        {"amqp://u:p%40@a:1/v"},
		"amqps://u:p@a:1,b:2,c/v":    {"amqps://u:p@a:1/v", "amqps://u:p@b:2/v", "amqps://u:p@c/v"},
		"amqp://u:p@[::1]:1,b:2/%2f": {"amqp://u:p@[::1]:1/%2f", "amqp://u:p@b:2/%2f"},
		"amqp://u:p@a,b?x=1":         {"amqp://u:p@a?x=1", "amqp://u:p@b?x=1"},
		"amqp://u:p@a:1,,b:2/":       nil,
		"http://u:p@a:1/":            nil,
		"amqp://u:secret@a:x/":       nil,
		"amqp://u:p@" + strings.Repeat("a,", queue.MaxBrokers) + "a": nil,
	} {
		got, err := queue.Brokers(address)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: %v, %v, want %v", address, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
