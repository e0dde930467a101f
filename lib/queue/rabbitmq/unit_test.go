package rabbitmq

import (
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

func TestRoundUp(t *testing.T) {
	for _, c := range []struct{ asked, want time.Duration }{
		{1, 100 * time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond},
		{101 * time.Millisecond, 200 * time.Millisecond},
		{15 * time.Minute, 15 * time.Minute},
		{15*time.Minute + 1, 20 * time.Minute},
		{queue.MaxDelay, queue.MaxDelay},
	} {
		if got := roundUp(c.asked); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.asked, got, c.want)
		}
	}
	ladder := delays()
	for i := range ladder[1:] {
		if ladder[i] >= ladder[i+1] || ladder[i+1] > 3*ladder[i] {
			t.Errorf("steps %s and %s", ladder[i], ladder[i+1])
		}
	}
}

// TestRequestFates: who decides what becomes of a letter, and that nobody decides twice.
func TestRequestFates(t *testing.T) {
	why := errors.New("enough")
	r := newRequest("orders", make([]letter, 4))
	if !r.claim(0) || !r.claim(1) || !r.claim(2) || r.claim(2) {
		t.Fatal("a letter is claimed once")
	}
	r.settle(0, queue.Outcome{Fate: queue.Confirmed})
	r.settle(0, queue.Outcome{Fate: queue.Refused, Err: why}) // too late
	r.settle(3, queue.Outcome{Fate: queue.Confirmed})         // was never written
	r.unclaim(2)
	outcomes := r.giveUp(why)
	for i, want := range []queue.Fate{queue.Confirmed, queue.Unknown, queue.Refused, queue.Refused} {
		if outcomes[i].Fate != want || (want == queue.Confirmed) != (outcomes[i].Err == nil) {
			t.Errorf("letter %d: %s (%v), want %s", i, outcomes[i].Fate, outcomes[i].Err, want)
		}
	}
	if r.claim(2) || r.claim(3) {
		t.Error("a refused letter was claimed")
	}
	r.unclaim(1) // nacked after the caller had gone: nothing may be written any more
	if r.claim(1) {
		t.Error("a letter was written for a caller that has gone")
	}
	<-r.done
	if outcomes[1].Fate != queue.Unknown {
		t.Error("the caller's outcomes changed below it")
	}
}

// TestAckTogether: one frame covers only what is being acknowledged.
func TestAckTogether(t *testing.T) {
	s := &session{held: map[uint64]*holding{}}
	for tag := uint64(1); tag <= 6; tag++ {
		s.held[tag] = &holding{delivery: &amqp.Delivery{}}
	}
	for _, c := range []struct {
		tags []uint64
		want int
	}{{[]uint64{1, 2, 3}, 3}, {[]uint64{2, 3}, 0}, {[]uint64{1, 2, 4, 5}, 2}, {[]uint64{1, 2, 3, 4, 5, 6}, 6}} {
		if got := s.together(c.tags); got != c.want {
			t.Errorf("%v: %d together, want %d", c.tags, got, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	d := &amqp.Delivery{Headers: amqp.Table{headerAttempts: int32(2), "x-delivery-count": int64(3)}}
	if got := attempts(d); got != 6 {
		t.Errorf("%d attempts, want 6", got)
	}
	d.Headers["x-death"] = []any{amqp.Table{"reason": "expired"}, amqp.Table{"reason": "delivery_limit"}}
	if got := reason(d); got != "the broker dead-lettered it: delivery_limit" {
		t.Errorf("reason %q", got)
	}
	strange := &amqp.Delivery{Headers: amqp.Table{headerAttempts: "many", "x-death": "yes", headerReason: 7}}
	if attempts(strange) != 1 || reason(strange) != "" {
		t.Errorf("strange headers gave %d attempts and reason %q", attempts(strange), reason(strange))
	}
}

// TestForget: a topic, its dead letters and their delays are declared together, and so forgotten.
func TestForget(t *testing.T) {
	for _, topic := range []string{"orders", queue.DeadTopic("orders")} {
		top := &topology{declared: map[string]time.Time{}}
		for _, key := range []string{"orders", "orders.dead", "orders.delay.100", "orders.dead.delay.100", "orders-2", "other"} {
			top.declared[key] = time.Now()
		}
		top.forget(topic)
		if top.young("orders") || top.young("orders.dead") || len(top.declared) != 2 || !top.young("orders-2") || !top.young("other") {
			t.Errorf("after forgetting %s: %v, want orders-2 and other", topic, top.declared)
		}
	}
}
