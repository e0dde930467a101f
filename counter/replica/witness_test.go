package replica

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// slowWire answers a heartbeat when the test says so.
type slowWire struct {
	wire
	answer chan uint64 // the term of the answer
}

func (w *slowWire) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	term, ok := <-w.answer
	if !ok {
		return errors.New("no answer")
	}
	resp.Term, resp.Success = term, true
	return nil
}

// An answer counts from the moment at which the question was sent, however late it arrives: in between
// this process may have been paused, and another leader elected.
func TestLateAnswersShowNoLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		wire := &slowWire{answer: make(chan uint64)}
		w := newWitness(wire, func() time.Duration { return time.Since(start) })
		var servers []raft.Server
		for i := range 3 {
			servers = append(servers, raft.Server{ID: raft.ServerID(fmt.Sprintf("c%d", i))})
		}
		beat := func(id raft.ServerID) (done chan error) {
			done = make(chan error, 1)
			go func() {
				done <- w.AppendEntries(id, "", &raft.AppendEntriesRequest{Term: 3}, &raft.AppendEntriesResponse{})
			}()
			synctest.Wait()
			return done
		}
		late := beat("c1")
		time.Sleep(10 * time.Second) // the process is paused; the bubble's clock moves by itself
		question := time.Since(start)
		wire.answer <- 3
		if err := <-late; err != nil {
			t.Fatal(err)
		}
		if w.quorumSince(question, servers, "c0") {
			t.Error("an answer to an older heartbeat shows leadership")
		}
		deposed := beat("c2")
		wire.answer <- 4 // it follows a later leader
		<-deposed
		if w.quorumSince(question, servers, "c0") {
			t.Error("the answer of a later term shows leadership")
		}
		now := beat("c2")
		wire.answer <- 3
		<-now
		if !w.quorumSince(question, servers, "c0") {
			t.Error("an answer to a heartbeat after the question does not count")
		}
		if w.quorumSince(question, servers, "c9") {
			t.Error("one voter is a quorum of three for a leader that is none of them")
		}
		servers[2].Suffrage = raft.Nonvoter
		if w.quorumSince(question, servers[:3], "c0") {
			t.Error("a voter without a vote counts")
		}
		close(wire.answer)
	})
}

func TestPeerAddress(t *testing.T) {
	p := peer{Voter: Voter{ID: "c1", Raft: "10.0.0.1:7381", Client: "counter-1:7380"}, folder: "abc"}
	if got := readPeer(raft.Server{ID: "c1", Address: p.address()}); got != p {
		t.Errorf("%+v became %+v", p, got)
	}
	old := readPeer(raft.Server{ID: "v1", Address: "127.0.0.1:7381"}) // of a version that knew one voter only
	if old.ID != "v1" || old.Client != "" || old.folder != "" {
		t.Errorf("%+v", old)
	}
}

// A hand-over ends the answers from memory before another voter can be elected, and the next leader has
// everything.
func TestHandOver(t *testing.T) {
	c := newCluster(t)
	first := c.selling(-1)
	if err := c.replicas[first].HandOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.replicas[first].Fresh(time.Second, func(*machine.State, Clock) {}); err == nil {
		t.Error("it still answers from memory")
	}
	if _, err := propose(c.replicas[first], reserve(2)); err == nil {
		t.Error("it still takes commands")
	}
	next := c.leader(first)
	if err := c.replicas[next].Latest(5*time.Second, func(s *machine.State, _ Clock) {
		if orders, ok := s.UserOrders("1", "u1"); !ok || len(orders) != 1 {
			t.Errorf("the next leader has lost an order: %v", orders)
		}
	}); err != nil {
		t.Error(err)
	}
}
