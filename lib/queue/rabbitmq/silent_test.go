package rabbitmq_test

import (
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/service/servicetest"
)

// TestCloseWithASilentBroker: a broker that does not answer a request, and keeps the connection alive,
// does not keep anybody from closing; so does one whose queue has no leader after a crash.
func TestCloseWithASilentBroker(t *testing.T) {
	for name, request := range map[string][2]byte{
		"channel.open": {20, 10}, "queue.declare": {50, 10}, "basic.consume": {60, 20}, "confirm.select": {85, 10}, "connection.close": {10, 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, broker(t))
			p, address := newProxy(t, broker(t))
			cfg.URL = config.Secret(address)
			p.mute(request[0], request[1])
			q := open(t, cfg)
			sub := subscribe(t, q, queue.SubscribeOptions{})
			ended := make(chan struct{}, 2)
			go func() { _, _ = sub.Receive(t.Context()); ended <- struct{}{} }()
			go func() { q.Publish(t.Context(), topic, []queue.Message{letter("m")}); ended <- struct{}{} }()
			if name != "connection.close" {
				servicetest.Eventually(t, 30*time.Second, "the broker has fallen silent", p.isMuted)
			}
			began := time.Now()
			_ = sub.Close()
			_ = q.Close()
			if took := time.Since(began); took > 25*time.Second {
				t.Errorf("closing took %s", took)
			}
			<-ended
			<-ended
		})
	}
}
