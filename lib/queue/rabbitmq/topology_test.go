package rabbitmq_test

import (
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/rabbitmq"
	"headgate.example/lib/service/servicetest"
)

// TestSettlingDuringDeclaration: whoever settles confirms does not wait for a broker that takes its
// time over a declaration.
func TestSettlingDuringDeclaration(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	cfg.URL = config.Secret(address)
	q := open(t, cfg)
	confirmed(t, q, letter("first"))
	p.withhold(toClient)
	later := letter("later")
	later.Delay = time.Minute // whose queue has to be declared
	published := make(chan struct{})
	go func() {
		defer close(published)
		q.Publish(t.Context(), topic, []queue.Message{later})
	}()
	servicetest.Eventually(t, 30*time.Second, "a declaration waits for the broker", func() bool { return rabbitmq.Declaring(q) })
	forgotten := make(chan struct{})
	go func() {
		defer close(forgotten)
		rabbitmq.Forget(q, topic)
	}()
	select {
	case <-forgotten:
	case <-time.After(30 * time.Second):
		t.Error("settling waits for the declaration")
	}
	p.cut()
	p.heal()
	<-published
	<-forgotten
}
