package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

// fakeInfo is SALE.INFO of a sale with two shards.
func fakeInfo(revision, available, taken, given, supply int64) string {
	fields := map[string]any{
		"id": "1", "revision": revision, "phase": "open", "paused": 0, "closed": 0, "forgotten": 0, "stock": 10, "limit": 0, "opens_at": 1,
		"ends_at": 0, "next_release_at": 0, "hold_for_ms": 30000, "retain_for_ms": 86400000, "alloc": 5, "taken": taken, "given": given,
		"scheduled": 0, "available": available, "held": 5 + taken - given - available, "confirmed": 0, "debt": 0, "released_total": 0,
		"expired_total": 0, "supply_version": supply, "now": 2, "shards": "s1,s2", "ring_partitions": 271, "ring_replicas": 100, "ring_load": "1.05",
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", 2*len(fields))
	for name, value := range fields {
		text := fmt.Sprint(value)
		fmt.Fprintf(&b, "$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name), name, len(text), text)
	}
	return b.String()
}

func twoShards(t *testing.T, n *fakes, first, second func([]string) string) (*client.Client, *fake, *fake) {
	a, b := n.add(t, first), n.add(t, second)
	cfg := clientConfig(a.addr())
	cfg.Timeout = 400 * time.Millisecond
	cfg.Shards = append(cfg.Shards, client.Shard{Name: "s2", Number: 1, Addresses: []string{b.addr()}})
	return n.open(t, cfg), a, b
}

// byCommand answers by the command's name.
func byCommand(replies map[string]string) func([]string) string {
	return func(args []string) string {
		if reply, ok := replies[args[0]]; ok {
			return reply
		}
		return "-ERR command: not in the script\r\n"
	}
}

func TestPartialAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		c, _, _ := twoShards(t, n, byCommand(map[string]string{"SALE.INFO": fakeInfo(4, 0, 0, 0, 1), "SALE.LIST": "*1\r\n" + fakeInfo(4, 0, 0, 0, 1)}), always(silence))
		info, err := c.SaleInfo(t.Context(), "1")
		if err != nil || len(info.Silent) != 1 || info.Silent[0] != "s2" || info.Held != 5 || info.Revision != 4 || info.Phase(2) != sale.Open {
			t.Errorf("info: %+v, %v", info, err)
		}
		list, err := c.SaleList(t.Context())
		if err != nil || len(list) != 1 || list[0].Complete() || list[0].Phase(2) != sale.Open {
			t.Errorf("list: %+v, %v", list, err)
		}
	})
}

func TestSoldOutTakesTwoReadings(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		supply := atomic.Int64{}
		answer := func([]string) string { return fakeInfo(2, 0, 0, 0, supply.Load()) }
		c, _, _ := twoShards(t, n, answer, answer)
		phase := func() sale.Phase {
			time.Sleep(time.Millisecond) // of the bubble's clock: no reading begins when another ends
			info, err := c.SaleInfo(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			return info.Phase(2)
		}
		if p := phase(); p != sale.Open {
			t.Errorf("one reading: %s", p)
		}
		if p := phase(); p != sale.SoldOut {
			t.Errorf("two readings: %s", p)
		}
		supply.Add(1)
		if p := phase(); p != sale.Open {
			t.Errorf("something was added meanwhile: %s", p)
		}
	})
}

func TestUnitsOnTheirWayAreNotSold(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		c, _, _ := twoShards(t, n, always(fakeInfo(2, 0, 0, 1, 1)), always(fakeInfo(2, 0, 0, 0, 1)))
		for range 3 {
			info, err := c.SaleInfo(t.Context(), "1")
			if err != nil || info.InTransfer() != 1 || info.Phase(2) != sale.Open {
				t.Fatalf("%+v, %v", info, err)
			}
		}
	})
}

func TestAShardThatDoesNotKnowTheSaleIsAtRevisionZero(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		c, _, _ := twoShards(t, n, always(fakeInfo(2, 5, 0, 0, 1)), always("$-1\r\n"))
		info, err := c.SaleInfo(t.Context(), "1")
		if err != nil || info.Revision != 0 || !info.Paused || !info.Complete() || len(info.Parts) != 1 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

func TestChangesGoToAllShards(t *testing.T) {
	var conflict *client.ConflictError
	for _, c := range []struct {
		name   string
		second string
		check  func(error) bool
	}{
		{"both have it", "+OK\r\n", func(err error) bool { return err == nil }},
		{"one is past it", "-CONFLICT revision 5\r\n", func(err error) bool { return err == nil }},
		{"one has other content", "-CONFLICT revision 3\r\n", func(err error) bool { return errors.As(err, &conflict) && conflict.Revision == 3 }},
		{"one is behind", "-CONFLICT revision 1\r\n", func(err error) bool { return errors.As(err, &conflict) && conflict.Revision == 1 }},
		{"one waits for debts", "-TRYAGAIN debt: 2 units\r\n", func(err error) bool { return errors.Is(err, client.ErrUnavailable) }},
		{"one is silent", silence, func(err error) bool { return errors.Is(err, client.ErrUnknown) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *fakes) {
				info := fakeInfo(2, 5, 0, 0, 1)
				cl, first, second := twoShards(t, n, byCommand(map[string]string{"SALE.INFO": info, "SALE.PAUSE": "+OK\r\n"}),
					byCommand(map[string]string{"SALE.INFO": info, "SALE.PAUSE": c.second}))
				if err := cl.PauseSale(t.Context(), "1", 3); !c.check(err) {
					t.Errorf("got %v", err)
				}
				if first.count() == 0 || second.count() == 0 {
					t.Error("a shard was not told")
				}
			})
		})
	}
}

// TestWrongShardIsFollowed: the sale has been opened anew on other shards than the client remembers.
func TestWrongShardIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		var moved atomic.Bool
		answer := func(at string) func([]string) string {
			return func(args []string) string {
				info := fakeInfo(2, 5, 0, 0, 1)
				switch {
				case args[0] == "SALE.INFO" && moved.Load():
					return strings.Replace(info, "$5\r\ns1,s2\r\n", "$2\r\ns2\r\n", 1)
				case args[0] == "SALE.INFO":
					return info
				case at == "s1":
					moved.Store(true)
					return "-WRONGSHARD s2\r\n"
				}
				return reserved
			}
		}
		c, _, _ := twoShards(t, n, answer("s1"), answer("s2"))
		if r, err := c.Reserve(t.Context(), "1", ownedBy(t, "s1"), 1, ""); err != nil || r.Order != 4097 || !moved.Load() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func ownedBy(t *testing.T, shard string) string {
	t.Helper()
	ring, err := client.PinnedRing([]string{"s1", "s2"}, sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if user := fmt.Sprintf("u%d", i); ring.Owner(user) == shard {
			return user
		}
	}
}

// TestPeersAwayIsNotRepeated: an empty shard has waited for its peers already.
func TestPeersAwayIsNotRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		answer := byCommand(map[string]string{"SALE.INFO": fakeInfo(2, 0, 0, 0, 1), "RESERVE": "-TRYAGAIN peers: shard s1 does not answer\r\n"})
		c, _, second := twoShards(t, n, answer, answer)
		user := ownedBy(t, "s2")
		if _, err := c.Reserve(t.Context(), "1", user, 1, ""); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		asked := second.count()
		var away *client.AwayError
		if _, err := c.Reserve(t.Context(), "1", user, 1, ""); !errors.As(err, &away) || away.Shard != "s2" {
			t.Errorf("%v", err)
		}
		if second.count() != asked || asked > 2 {
			t.Errorf("the shard was asked %d times, then %d", asked, second.count())
		}
	})
}

// TestACallerThatGivesUpMarksNothing: that one caller leaves says nothing about the shard; others ask it.
func TestACallerThatGivesUpMarksNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		arrived := make(chan struct{}, 1)
		slow := func(args []string) string {
			if args[0] == "RESERVE" && args[2] == ownedBy(t, "s2") {
				arrived <- struct{}{}
				return ""
			}
			return byCommand(map[string]string{"SALE.INFO": fakeInfo(2, 5, 0, 0, 1), "RESERVE": "*2\r\n$8\r\nsold_out\r\n:0\r\n"})(args)
		}
		c, _, _ := twoShards(t, n, slow, slow)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		if _, err := c.Reserve(ctx, "1", ownedBy(t, "s2"), 1, ""); !errors.Is(err, client.ErrUnknown) {
			t.Fatalf("a caller that left: %v", err)
		}
		_, err := c.Reserve(t.Context(), "1", ownedBy(t, "s2"), 1, "")
		var mark *client.AwayError
		if errors.As(err, &mark) {
			t.Errorf("the next one is told: %v", err)
		}
	})
}

// TestAProbeOfAMarkedShardEnds: while one buyer asks a marked shard for all, the sale's placement is
// forgotten. The mark must not stay for ever.
func TestAProbeOfAMarkedShardEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		var asked atomic.Int64
		var c *client.Client
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		second := func(args []string) string {
			if args[0] == "RESERVE" && asked.Add(1) == 2 {
				_ = c.OpenSale(gone, sale.Terms{ID: "1", Shards: []string{"s1", "s2"}}) // sends nothing, forgets where the sale is
			}
			return byCommand(map[string]string{"SALE.INFO": fakeInfo(2, 5, 0, 0, 1), "RESERVE": "-TRYAGAIN peers: shard s1 does not answer\r\n"})(args)
		}
		c, _, _ = twoShards(t, n, byCommand(map[string]string{"SALE.INFO": fakeInfo(2, 5, 0, 0, 1)}), second)
		servicetest.Eventually(t, 30*time.Second, "the shard is asked again and again", func() bool {
			_, err := c.Reserve(t.Context(), "1", ownedBy(t, "s2"), 1, "")
			return errors.Is(err, client.ErrUnavailable) && asked.Load() >= 3
		})
	})
}
