package consumer

import (
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/lib/queue"
)

// The age is that of the oldest message of all batches in hand, by the consumer's clock.
func TestQueueAge(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	m := newMeter(metrics.NewSet(), func() time.Time { return now })
	if age := m.queueAge(now); age != 0 {
		t.Errorf("nothing in hand: %s", age)
	}
	at := func(ago ...time.Duration) (list []queue.Delivery) {
		for _, d := range ago {
			list = append(list, queue.Delivery{PublishedAt: now.Add(-d)})
		}
		return list
	}
	first := m.hold(oldestOf(at(3*time.Second, 5*time.Second, time.Second), now))
	second := m.hold(oldestOf(at(time.Second), now))
	if age := m.queueAge(now.Add(time.Second)); age != 6*time.Second {
		t.Errorf("two batches: %s, want 6s", age)
	}
	first()
	if age := m.queueAge(now); age != time.Second {
		t.Errorf("one batch: %s, want 1s", age)
	}
	second()
	if age := m.queueAge(now); age != 0 {
		t.Errorf("none again: %s", age)
	}
	if oldest := oldestOf([]queue.Delivery{{}}, now); !oldest.Equal(now) {
		t.Errorf("a message without a time: %s", oldest)
	}
}
