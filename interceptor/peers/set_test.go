package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

func TestEveryNodeServesAUserFromOneBudget(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2", "edge-3")
	c.startAll()
	var admitted [200]atomic.Int64
	var group sync.WaitGroup
	for _, n := range c.nodes {
		for i := range admitted {
			group.Go(func() {
				for range 4 { // 12 in all, of which 5 are allowed
					verdict, err := n.press(fmt.Sprintf("u%04d", i))
					if err != nil {
						t.Errorf("user %d at %s: %v", i, n.self, err)
					}
					if verdict == allowed {
						admitted[i].Add(1)
					}
				}
			})
		}
	}
	group.Wait()
	for i := range admitted {
		if got := admitted[i].Load(); got != c.most {
			t.Errorf("user %d: %d admitted, want %d", i, got, c.most)
		}
	}
}

func TestTenNodesByConfigAlone(t *testing.T) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("edge-%d", i))
	}
	c := newCluster(t, names...)
	c.startAll()
	report := c.nodes["edge-3"].Report()
	sum := 0.0
	for _, m := range report.Members {
		sum += m.Share
		if m.State != StateServing || m.Share < 0.05 || m.Share > 0.11 || m.ConfigHash != "same" || m.Epoch != report.Epoch {
			t.Errorf("member %+v", m)
		}
	}
	if len(report.Members) != 10 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("%d members with %v of the users", len(report.Members), sum)
	}
	for i := range 100 {
		user, count := fmt.Sprintf("u%04d", i), 0
		for _, n := range c.nodes {
			if verdict, err := n.press(user); err != nil {
				t.Fatal(err)
			} else if verdict == allowed {
				count++
			}
		}
		if count != int(c.most) {
			t.Errorf("user %s: %d admitted", user, count)
		}
	}
}

// A node that joins gets the budgets of the users it takes over, and none is admitted once too often
// meanwhile; the same when it leaves again.
func TestBudgetsMoveWithTheirOwners(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2", "edge-3", "edge-4")
	for _, name := range []string{"edge-1", "edge-2", "edge-3"} {
		c.start(name)
	}
	c.agree()
	const users = 300
	var admitted [users]atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	var failures, presses atomic.Int64
	steady := []*node{c.nodes["edge-1"], c.nodes["edge-2"]}
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(users)
				presses.Add(1)
				switch verdict, err := steady[rand.IntN(len(steady))].press(fmt.Sprintf("u%04d", i)); {
				case err != nil:
					failures.Add(1)
					t.Errorf("a press failed: %v", err)
				case verdict == unknown:
					t.Errorf("a budget was lost: nobody crashed")
				case verdict == allowed:
					admitted[i].Add(1)
				}
			}
		})
	}
	for range 3 {
		c.start("edge-4")
		c.agree()
		leaving := c.nodes["edge-4"]
		if err := leaving.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.kill("edge-4")
		c.agree()
	}
	if err := c.nodes["edge-3"].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(stop)
	group.Wait()
	for i := range admitted {
		if got := admitted[i].Load(); got > c.most {
			t.Errorf("user %d: %d admitted, at most %d are allowed", i, got, c.most)
		}
	}
	t.Logf("%d presses", presses.Load())
}

func TestAfterACrashUnknownBudgetsAreNotGuessed(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2", "edge-3")
	c.startAll()
	user := c.userOf("edge-3")
	if verdict, err := c.nodes["edge-1"].press(user); err != nil || verdict != allowed {
		t.Fatal(verdict, err)
	}
	began := time.Now()
	c.kill("edge-3")
	verdict := allowed
	servicetest.Eventually(t, 30*time.Second, "the ring goes on without it", func() bool {
		var err error
		verdict, err = c.nodes["edge-1"].press(user)
		return err == nil
	})
	if verdict != unknown && time.Since(began) < 100*time.Millisecond {
		t.Errorf("verdict %d in the first interval after the crash", verdict)
	}
	servicetest.Eventually(t, 30*time.Second, "the user has a budget again", func() bool {
		verdict, err := c.nodes["edge-1"].press(user)
		return err == nil && verdict == allowed
	})
	if report := c.nodes["edge-1"].Report(); report.Members[2].State != StateDead || report.Members[2].Share != 0 {
		t.Errorf("the dead node: %+v", report.Members[2])
	}
}

// A hop whose answer is lost with its node may have been served: nobody may be told that it was not.
func TestHopUnderWayAtACrashIsUnknown(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.startAll()
	user := c.userOf("edge-2")
	blocked := make(chan struct{})
	c.nodes["edge-2"].blocked.Store(&blocked)
	failed := make(chan error, 1)
	go func() {
		_, err := c.nodes["edge-1"].press(user)
		failed <- err
	}()
	two := c.nodes["edge-2"]
	servicetest.Eventually(t, 30*time.Second, "the hop arrived", func() bool { return two.served.Load() == 1 })
	for _, conn := range connsOf(two) { // its links break, as with its process
		_ = conn.Close()
	}
	if err := <-failed; !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want an unknown outcome", err)
	}
	close(blocked)
}

func TestHopWithoutAnswerEndsAtItsDeadline(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.startAll()
	user := c.userOf("edge-2")
	key := c.keys.User(user)
	blocked := make(chan struct{})
	c.nodes["edge-2"].blocked.Store(&blocked)
	one := c.nodes["edge-1"]
	place, _ := one.Enter(key)
	_, _, _, err := one.Hop(place, key, binary.BigEndian.AppendUint64(make([]byte, HopHead), key), time.Now().Add(time.Second))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want an unknown outcome", err)
	}
	close(blocked)
	// Its answer comes late, and must not be taken for that of another hop.
	if verdict, err := one.press(user); err != nil || verdict != allowed {
		t.Errorf("the next hop: %d, %v", verdict, err)
	}
}

func TestADrainedNodePassesItsUsersOn(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.startAll()
	user := c.userOf("edge-2")
	key := c.keys.User(user)
	one, two := c.nodes["edge-1"], c.nodes["edge-2"]
	for range c.most {
		if verdict, err := one.press(user); err != nil || verdict != allowed {
			t.Fatal(verdict, err)
		}
	}
	place, _ := one.Enter(key) // as a request does that is about to hop while the ring changes
	if err := two.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	frame := binary.BigEndian.AppendUint64(make([]byte, HopHead), key)
	appendHopHead(frame[:0], key, place.epoch)
	reply, err := one.send(place.Owner, key, frame, time.Now().Add(30*time.Second))
	if !errors.Is(err, errMoved) || string(reply.Payload()) != "edge-1" {
		t.Errorf("a late hop: %v, %q", err, reply.Payload())
	}
	reply.Release()
	for _, n := range []*node{one, two} {
		if verdict, err := n.press(user); err != nil || verdict != refused {
			t.Errorf("at %s, after the budget was used up elsewhere: %d, %v", n.self, verdict, err)
		}
	}
	if got := two.Report().Members[1].State; got != StateDraining {
		t.Errorf("the drained node is %s", got)
	}
	if n := len(two.counts.used); n != 0 {
		t.Errorf("the drained node still keeps %d budgets", n)
	}
}

func TestStrangersOpenNoLink(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	one := c.start("edge-1")
	keys := testKeys(t)
	now := time.Now()
	for name, o := range map[string]struct{ query, from, signature string }{
		"no signature":       {"to=edge-1", "edge-2", ""},
		"not configured":     {"to=edge-1", "edge-9", keys.SignHop(opening("edge-9", "edge-1", nil), now)},
		"for another node":   {"to=edge-1", "edge-2", keys.SignHop(opening("edge-2", "edge-3", nil), now)},
		"of another node":    {"to=edge-1", "edge-2", keys.SignHop(opening("edge-1", "edge-1", nil), now)},
		"to another node":    {"to=edge-2", "edge-2", keys.SignHop(opening("edge-2", "edge-2", nil), now)},
		"from the past":      {"to=edge-1", "edge-2", keys.SignHop(opening("edge-2", "edge-1", nil), now.Add(-time.Minute))},
		"itself":             {"to=edge-1", "edge-1", keys.SignHop(opening("edge-1", "edge-1", nil), now)},
		"other user keys":    {"to=edge-1", "edge-2", keys.SignHop(opening("edge-2", "edge-1", []byte("other")), now)},
		"a hop to a backend": {"to=edge-1", "edge-2", keys.SignHop(consent("edge-2", "edge-1", ""), now)},
	} {
		if _, err := one.Accept(o.query, o.from, o.signature); err == nil {
			t.Errorf("%s: a link was opened", name)
		}
	}
	if _, err := one.Accept("to=edge-1", "edge-2", keys.SignHop(opening("edge-2", "edge-1", nil), now)); err != nil {
		t.Errorf("a peer: %v", err)
	}
}

func TestPlacesAreFoundWithoutGarbage(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.startAll()
	n := c.nodes["edge-1"]
	key := c.keys.User(c.userOf("edge-1"))
	if got := testing.AllocsPerRun(1000, func() {
		place, section := n.Enter(key)
		section.Leave()
		if place.Kind != Here {
			t.Fatal(place)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// An owner without links that the ring still names: the request waits for the ring to go on, or is refused at
// once.
func TestOwnerAway(t *testing.T) {
	for _, policy := range []string{OwnerAwayLocal, OwnerAwayRefuse} {
		c := newCluster(t, "edge-1", "edge-2")
		c.away = policy
		c.startAll()
		one := c.nodes["edge-1"]
		key := c.keys.User(c.userOf("edge-2"))
		place, _ := one.Enter(key)
		two := place.Owner
		links := *two.links.Swap(nil)
		type outcome struct {
			place Place
			err   error
		}
		ended := make(chan outcome, 1)
		go func() {
			place, section, reply, err := one.Hop(place, key, make([]byte, HopHead+8), time.Now().Add(30*time.Second))
			section.Leave()
			reply.Release()
			ended <- outcome{place, err}
		}()
		if policy == OwnerAwayRefuse {
			if got := <-ended; !errors.Is(got.err, ErrNotSent) {
				t.Errorf("%s: %+v", policy, got)
			}
		}
		two.links.Store(&links)
		two.lost(nil, errors.New("a test's death")) // as the next health check finds
		if policy == OwnerAwayLocal {
			if got := <-ended; got.err != nil {
				t.Errorf("%s: %+v", policy, got)
			}
		}
	}
}
