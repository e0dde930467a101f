//go:build rehearsalbroken

package consumer

import (
	"sync/atomic"

	"headgate.example/lib/queue"
)

// loss breaks the consumer on purpose: one message is acknowledged and never written. A rehearsal must notice.
type loss struct{ done atomic.Bool }

func (l *loss) of(deliveries []queue.Delivery) (kept, lost []queue.Delivery) {
	if len(deliveries) == 0 || !l.done.CompareAndSwap(false, true) {
		return deliveries, nil
	}
	return deliveries[1:], deliveries[:1]
}
