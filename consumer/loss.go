//go:build !rehearsalbroken

package consumer

import "headgate.example/lib/queue"

// loss is how a build that is broken on purpose (tag rehearsalbroken) loses messages. This one loses none.
type loss struct{}

func (*loss) of(deliveries []queue.Delivery) (kept, lost []queue.Delivery) { return deliveries, nil }
