package rabbitmq_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/service/servicetest"
)

// TestSecondBroker: of the nodes that the address names, one answers; that one is used, for publishing
// and for consuming.
func TestSecondBroker(t *testing.T) {
	cfg := settings(t, broker(t))
	gone := servicetest.FreePort(t)
	u, err := url.Parse(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = gone + "," + u.Host + "," + gone
	cfg.URL = config.Secret(u.String())
	q := open(t, cfg)
	confirmed(t, q, letter("through"))
	s := subscribe(t, q, queue.SubscribeOptions{})
	if seen := collect(t, s, func(seen map[string]bool) bool { return len(seen) == 1 }); !seen["through"] {
		t.Errorf("got %v", seen)
	}
}

// TestWrongPassword: an attempt that the broker turns down leaves nothing behind (goleak looks), and the
// error says so without showing the password.
func TestWrongPassword(t *testing.T) {
	cfg := settings(t, broker(t))
	u, err := url.Parse(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("guest", "not-the-password")
	cfg.URL, cfg.BrokerWait = config.Secret(u.String()), 3*time.Second
	q := open(t, cfg)
	o := q.Publish(patient(t), topic, []queue.Message{letter("never")})[0]
	if o.Fate != queue.Refused || !errors.Is(o.Err, queue.ErrDisconnected) || strings.Contains(o.Err.Error(), "not-the-password") {
		t.Errorf("%s: %v", o.Fate, o.Err)
	}
}
