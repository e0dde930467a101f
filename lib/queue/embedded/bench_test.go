package embedded_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"headgate.example/lib/queue"
)

func body() []byte { return make([]byte, 400) }

func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct{ callers, size int }{{1, 1}, {1, 500}, {512, 1}, {64, 20}} {
		b.Run(fmt.Sprintf("%d callers of %d", c.callers, c.size), func(b *testing.B) {
			q := open(b, filepath.Join(b.TempDir(), "queue.db"), func(c *queue.Config) { c.MaxReady = 0 })
			list := make([]queue.Message, c.size)
			for i := range list {
				list[i] = queue.Message{ID: "4611686018427387904", Body: body()}
			}
			publish := func() {
				for _, o := range q.Publish(b.Context(), "orders", list) {
					if o.Fate != queue.Confirmed {
						b.Errorf("%s: %v", o.Fate, o.Err)
					}
				}
			}
			if c.callers == 1 {
				for b.Loop() {
					publish()
				}
			} else {
				b.SetParallelism(c.callers / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						publish()
					}
				})
			}
			b.ReportMetric(float64(b.N*c.size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkReceive is claiming and acknowledging in batches.
func BenchmarkReceive(b *testing.B) {
	q := open(b, filepath.Join(b.TempDir(), "queue.db"), func(c *queue.Config) { c.MaxReady = 0 })
	list := make([]queue.Message, 1000)
	for i := range list {
		list[i] = queue.Message{ID: "4611686018427387904", Body: body()}
	}
	for n := 0; n < b.N; n += len(list) {
		q.Publish(b.Context(), "orders", list)
	}
	s, err := q.Subscribe(b.Context(), "orders", queue.SubscribeOptions{BatchSize: 500})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch, err := s.Receive(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Ack(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
