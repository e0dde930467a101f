package peers

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// onTake is a Store without anything in it that calls what it was given, once, when it is asked.
type onTake struct{ asked atomic.Pointer[func()] }

func (*onTake) StoreName() string { return "nothing" }

func (o *onTake) Take(func(uint64) bool, func(uint64, int64)) {
	if asked := o.asked.Swap(nil); asked != nil {
		(*asked)()
	}
}

func (*onTake) Import(uint64, int64) {}

// What an owner that dies while it is handed a partition had got of it died with him: whoever gets the rest does
// not remember who ordered before.
func TestHalfAHandoverIsNotRememberedAsAWhole(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.ping = 50 * time.Millisecond
	half := &onTake{}
	c.more = []Store{half}
	c.startAll()
	one, two := c.nodes["edge-1"], c.nodes["edge-2"]
	key := c.keys.User(c.userOf("edge-2"))
	one.counts.Import(key, 3)
	to := one.peer("edge-2")
	die := func() { // after the counts, which were sent
		if one.counts.has(key) {
			t.Error("the first store was not sent")
		}
		to.lost(nil, errors.New("a test's death"))
		servicetest.Eventually(t, 30*time.Second, "it is connected to again", func() bool { return to.links.Load() != nil })
	}
	half.asked.Store(&die)
	began := time.Now().UnixMilli()
	one.deliver(t.Context(), giftJob{epoch: 1, after: &sections{}, gifts: []*gift{{to: to, parts: []givenPart{{partitionOf(key), 5}}}}})
	c.agree()
	servicetest.Eventually(t, 30*time.Second, "orders are not remembered from before half of them was lost", func() bool {
		return two.Since(key) >= began
	})
}
