package rabbitmq

import (
	"sort"
	"time"

	"headgate.example/lib/queue"
)

// delays is the ladder that delays are rounded up to. Each step has a queue of its own per topic, since
// messages with different times to live would wait behind each other in one.
func delays() []time.Duration {
	const ms, s, m, h = time.Millisecond, time.Second, time.Minute, time.Hour
	return []time.Duration{
		100 * ms, 200 * ms, 300 * ms, 500 * ms,
		s, 2 * s, 3 * s, 5 * s, 10 * s, 15 * s, 20 * s, 30 * s, 45 * s,
		m, 2 * m, 3 * m, 5 * m, 10 * m, 15 * m, 20 * m, 30 * m, 45 * m,
		h, 2 * h, 3 * h, 6 * h, 12 * h, 24 * h, 48 * h, 72 * h, queue.MaxDelay,
	}
}

// roundUp gives the ladder's first step that is not below d, and the last one for longer delays.
func roundUp(d time.Duration) time.Duration {
	ladder := delays()
	i := sort.Search(len(ladder)-1, func(i int) bool { return ladder[i] >= d })
	return ladder[i]
}
