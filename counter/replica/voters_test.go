package replica

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/service/servicetest"
)

// cluster is three voters in one process.
type cluster struct {
	t        *testing.T
	replicas []*Replica
	trans    []*raft.InmemTransport
}

func newCluster(t *testing.T, edits ...func(i int, cfg *Config)) *cluster {
	c := &cluster{t: t}
	var voters []Voter
	for i := range 3 {
		addr, trans := raft.NewInmemTransport("")
		c.trans = append(c.trans, trans)
		voters = append(voters, Voter{ID: fmt.Sprintf("v%d", i), Raft: string(addr), Client: fmt.Sprintf("voter%d:7380", i)})
	}
	for i := range c.trans {
		c.connect(i)
	}
	for i := range 3 {
		cfg := testConfig(t)
		cfg.VoterID, cfg.Voters, cfg.Transport = voters[i].ID, voters, c.trans[i]
		for _, edit := range edits {
			edit(i, &cfg)
		}
		c.replicas = append(c.replicas, open(t, cfg))
	}
	return c
}

// leader waits for one that serves, other than but.
func (c *cluster) leader(but int) int {
	c.t.Helper()
	found := -1
	servicetest.Eventually(c.t, 30*time.Second, "a leader", func() bool {
		for i, r := range c.replicas {
			if i != but && r.Ready() == nil {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

// selling opens a sale at a leader, other than but, where one order is taken, and gives the leader: a stall
// may end a tenure at any moment, and then the next one is asked for the same.
func (c *cluster) selling(but int) int {
	c.t.Helper()
	leader := -1
	servicetest.Eventually(c.t, 30*time.Second, "a leader that opens a sale", func() bool {
		leader = c.leader(but)
		if err := tryOpenSale(c.replicas[leader], 10); err != nil {
			return false
		}
		_, err := propose(c.replicas[leader], withKey(reserve(1), "k"))
		return err == nil
	})
	return leader
}

func withKey(c machine.Command, key string) machine.Command {
	c.Key = key
	return c
}

// connect brings a voter and all others together, in both directions.
func (c *cluster) connect(i int) {
	for j, other := range c.trans {
		if j != i {
			c.trans[i].Connect(other.LocalAddr(), other)
			other.Connect(c.trans[i].LocalAddr(), c.trans[i])
		}
	}
}

func (c *cluster) isolate(i int) {
	c.trans[i].DisconnectAll()
	for j := range c.trans {
		if j != i {
			c.trans[j].Disconnect(c.trans[i].LocalAddr())
		}
	}
}

func TestThreeVoters(t *testing.T) {
	c := newCluster(t)
	first := c.selling(-1)
	for i := range 3 {
		if i == first {
			continue
		}
		servicetest.Eventually(t, 30*time.Second, "the followers know the leader", func() bool {
			moved := (*NotLeaderError)(nil)
			_, err := propose(c.replicas[i], reserve(0))
			return errors.As(err, &moved) && moved.Client == fmt.Sprintf("voter%d:7380", first)
		})
		moved := (*NotLeaderError)(nil)
		if err := c.replicas[i].Latest(5*time.Second, func(*machine.State, Clock) {}); !errors.As(err, &moved) {
			t.Errorf("a read at a follower: %v", err)
		}
	}

	// A leader cut off from the others answers nothing, and its last command has an unknown outcome.
	c.isolate(first)
	if _, err := propose(c.replicas[first], reserve(2)); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotAccepted) {
		t.Errorf("a command at the leader that was cut off: %v", err)
	}
	if err := c.replicas[first].Latest(5*time.Second, func(*machine.State, Clock) {}); err == nil {
		t.Error("the leader that was cut off answers reads")
	}

	// The next leader has everything that was acknowledged.
	next := c.leader(first)
	if err := c.replicas[next].Latest(5*time.Second, func(s *machine.State, _ Clock) {
		if orders, ok := s.UserOrders("1", "u1"); !ok || len(orders) != 1 {
			t.Errorf("the next leader has lost an order: %v", orders)
		}
	}); err != nil {
		t.Error(err)
	}
	if r, err := propose(c.replicas[c.selling(first)], reserve(3)); err != nil {
		t.Errorf("%+v, %v", r, err)
	}
}
