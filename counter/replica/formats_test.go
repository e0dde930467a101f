package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"headgate.example/counter/machine"
	"headgate.example/lib/service/servicetest"
)

// The version that is written is one that every server reads, as far as it has said so, and the highest such one.
func TestReadByAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var servers []raft.Server
		reads := make(map[string]int)
		best := machine.EntryVersion
		for i := range random.IntN(MaxVoters + 1) {
			s := raft.Server{ID: raft.ServerID(fmt.Sprint("c", i)), Suffrage: raft.ServerSuffrage(random.IntN(2))}
			servers = append(servers, s)
			switch said := 1 + random.IntN(5); {
			case i == 0: // this one
			case random.IntN(3) > 0:
				reads[string(s.ID)] = said
				best = min(best, said)
			default:
				best = min(best, 2)
			}
		}
		if len(servers) == 0 {
			best = 2
		}
		reads["removed"] = 1
		if got := readByAll(servers, "c0", reads); got != best {
			t.Fatalf("%d for %v of %v, want %d", got, reads, servers, best)
		}
	}
}

// What a voter reads stands while it is away, and not when it is no voter any more; another voter at its address
// says nothing about it.
func TestWhatAVoterReadsIsKept(t *testing.T) {
	m := newMembers()
	c2 := peer{Voter: Voter{ID: "c2"}, folder: "two"}
	m.put(c2, sighting{probed: probed{id: "c2", folder: "two", reads: 5}})
	if _, ok := m.get("c2", probeKept); ok {
		t.Error("it counts as seen for too long")
	}
	m.forget()
	m.keep([]raft.Server{{ID: "c1"}, {ID: "c2"}})
	for _, other := range []probed{{id: "c9", folder: "two", reads: 1}, {id: "c2", folder: "wiped", reads: 1}} {
		m.put(c2, sighting{probed: other})
	}
	if got := m.reads["c2"]; got != 5 {
		t.Errorf("away, it is taken to read %d, want 5", got)
	}
	m.put(c2, sighting{probed: probed{id: "c2", folder: "two", reads: 4}}) // what it says last counts
	if got := m.reads["c2"]; got != 4 {
		t.Errorf("after a downgrade it is taken to read %d, want 4", got)
	}
	m.keep([]raft.Server{{ID: "c1"}})
	if got, ok := m.reads["c2"]; ok {
		t.Errorf("removed, it is taken to read %d", got)
	}
}

// pretend answers at a voter's raft address as a program does that says of itself what say gives, until stop.
func pretend(t *testing.T, address string, say func(purpose string) string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(handshakeTimeout))
			_ = answering(nc, "s", say)
			nc.Close()
		}
	})
	stop = func() {
		listener.Close()
		work.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// tcpVoter is the config of one of the voters.
func tcpVoter(t *testing.T, voters []Voter, i int) Config {
	cfg := testConfig(t)
	cfg.Bootstrap = false
	cfg.VoterID, cfg.Voters, cfg.RaftListen, cfg.RaftSecret = voters[i].ID, voters[:3], voters[i].Raft, "s"
	return cfg
}

// writes waits until each of the replicas would write that version.
func writes(t *testing.T, what string, version int, replicas ...*Replica) {
	t.Helper()
	for _, r := range replicas {
		servicetest.Eventually(t, 30*time.Second, fmt.Sprintf("version %d is written %s", version, what), func() bool { return r.Status().Format == version })
	}
}

// stillWrites looks around, which is what changes it.
func stillWrites(t *testing.T, what string, version int, replicas ...*Replica) {
	t.Helper()
	for _, r := range replicas {
		r.lookAround(t.Context())
		if got := r.newestFormat(); got != version {
			t.Errorf("version %d is written %s, want %d", got, what, version)
		}
	}
}

// atLeader does something at whoever leads, and again after an election; refused is a refusal that is final.
func atLeader(t *testing.T, what string, replicas []*Replica, do func(*Replica) error) (refused *MemberError) {
	t.Helper()
	servicetest.Eventually(t, 30*time.Second, what, func() bool {
		for _, r := range replicas {
			if r.Ready() == nil {
				err := do(r)
				return err == nil || errors.As(err, &refused)
			}
		}
		return false
	})
	return refused
}

// A shard is upgraded voter by voter: the newest version is written from the moment that all of them run the new
// program, and on while one of them is away.
func TestNewestFormatIsWrittenWhenAllReadIt(t *testing.T) {
	var voters []Voter
	for i := range 5 {
		voters = append(voters, Voter{ID: fmt.Sprint("c", i+1), Raft: servicetest.FreePort(t), Client: servicetest.FreePort(t)})
	}
	cfg := tcpVoter(t, voters, 2)
	id, err := adopt(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	older := func(id, folder string) string {
		return fmt.Sprintf("%s %s 0 0 %d nonce", id, folder, time.Now().UnixMilli())
	}
	upgrade := pretend(t, voters[2].Raft, func(string) string { return older("c3", id.Folder) })
	second := open(t, tcpVoter(t, voters, 1))
	begin := tcpVoter(t, voters, 0)
	if err := Bootstrap(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	first := open(t, begin)
	all := []*Replica{first, second}
	for _, r := range all {
		servicetest.Eventually(t, 30*time.Second, "all voters answer", func() bool {
			members := r.Members()
			return len(members) == 3 && members[0].Reachable && members[1].Reachable && members[2].Reachable
		})
	}
	stillWrites(t, "beside an older voter", unsaidVersion, all...)

	// Another older one may be added. It never gets its vote, since its folder is another one each time.
	pretend(t, voters[3].Raft, func(string) string { return older("c4", newFolderName()) })
	if refused := atLeader(t, "an older voter is added", all, func(r *Replica) error { return r.AddVoter(t.Context(), voters[3]) }); refused != nil {
		t.Fatal(refused)
	}
	upgrade()
	third, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, third)
	for _, r := range all {
		servicetest.Eventually(t, 30*time.Second, "the upgraded voter and the added one are known", func() bool {
			members := r.Members()
			return len(members) == 4 && members[0].Reachable && members[1].Reachable && members[2].Reachable
		})
	}
	stillWrites(t, "beside an older voter that was added", unsaidVersion, all...)
	if refused := atLeader(t, "it is removed", all, func(r *Replica) error { return r.RemoveVoter(t.Context(), "c4") }); refused != nil {
		t.Fatal(refused)
	}
	writes(t, "when all are upgraded", machine.EntryVersion, all...)

	closeNow(t, third)
	all = all[:2]
	for _, r := range all {
		r.members.forget()
	}
	stillWrites(t, "while a voter is away", machine.EntryVersion, all...)
	for _, r := range all {
		if r.Members()[2].Reachable {
			t.Error("a voter that was stopped answers")
		}
	}
	atLeader(t, "a sale is opened without it", all, func(r *Replica) error { return tryOpenSale(r, 10) })
	all = append(all, open(t, cfg))
	writes(t, "when it is back", machine.EntryVersion, all...)

	pretend(t, voters[4].Raft, func(purpose string) string {
		return fmt.Sprintf("c5 five 0 0 %d %d nonce", time.Now().UnixMilli(), machine.EntryVersion-1)
	})
	refused := atLeader(t, "an older voter is refused", all, func(r *Replica) error { return r.AddVoter(t.Context(), voters[4]) })
	if refused == nil || !strings.Contains(refused.Reason, "start it with the program that the others run") {
		t.Errorf("an older voter that is to be added now: %v", refused)
	}
}

// What is added to a call is written in no newer version than all voters read, and in that one where it is shorter.
func TestCallsAreEncodedForAllVoters(t *testing.T) {
	r := open(t, testConfig(t))
	for newest, want := range map[int]byte{2: machine.EntryVersionMin, 3: 3} {
		r.newest.Store(int64(newest))
		c := NewCall()
		r.Add(c, reserve(1), reserve(2))
		if got := machine.AppendEntry(nil, 1, 1, &c.commands)[0]; got != want {
			t.Errorf("while version %d is read by all, version %d is written, want %d", newest, got, want)
		}
	}
}

// A newer version is not begun while a voter is away, which may be about to go back to the older program; nor before
// anybody has said anything.
func TestFormatRisesWhileAllAnswer(t *testing.T) {
	var voters []Voter
	for i := range 3 {
		voters = append(voters, Voter{ID: fmt.Sprint("c", i+1), Raft: servicetest.FreePort(t), Client: servicetest.FreePort(t)})
	}
	older := func(id string) func(string) string {
		return func(string) string { return fmt.Sprintf("%s f%s 0 0 %d nonce", id, id, time.Now().UnixMilli()) }
	}
	newer := func(id string) func(string) string {
		return func(string) string {
			return fmt.Sprintf("%s f%s 0 0 %d %d nonce", id, id, time.Now().UnixMilli(), machine.EntryVersion)
		}
	}
	seen := func(r *Replica, second, third bool) {
		t.Helper()
		servicetest.Eventually(t, 30*time.Second, fmt.Sprintf("c2 answers %v, c3 %v", second, third), func() bool {
			m := r.Members()
			return len(m) == 3 && m[1].Reachable == second && m[2].Reachable == third
		})
	}
	stop2, stop3 := pretend(t, voters[1].Raft, newer("c2")), pretend(t, voters[2].Raft, older("c3"))
	cfg := tcpVoter(t, voters, 0)
	if err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	stop2()
	stop3()
	r := open(t, cfg)
	stillWrites(t, "before anybody was heard", unsaidVersion, r)
	stop2, stop3 = pretend(t, voters[1].Raft, newer("c2")), pretend(t, voters[2].Raft, older("c3"))
	seen(r, true, true)
	stillWrites(t, "beside an older voter", unsaidVersion, r)
	stop2()
	stop3()
	r.members.forget()
	pretend(t, voters[2].Raft, newer("c3"))
	seen(r, false, true)
	stillWrites(t, "while a voter is away", unsaidVersion, r)
	pretend(t, voters[1].Raft, newer("c2"))
	writes(t, "when all answer", machine.EntryVersion, r)
}

// A voter that knows nothing of what the others read knows what its log holds, and what a new voter has to read.
func TestNewVoterReadsWhatTheLogHolds(t *testing.T) {
	var voters []Voter
	for i := range 4 {
		voters = append(voters, Voter{ID: fmt.Sprint("c", i+1), Raft: servicetest.FreePort(t), Client: servicetest.FreePort(t)})
	}
	var cfgs []Config
	var all []*Replica
	for i := range 3 {
		cfgs = append(cfgs, tcpVoter(t, voters, i))
	}
	second, third := open(t, cfgs[1]), open(t, cfgs[2])
	if err := Bootstrap(t.Context(), cfgs[0]); err != nil {
		t.Fatal(err)
	}
	all = []*Replica{open(t, cfgs[0]), second, third}
	writes(t, "by all", machine.EntryVersion, all...)
	atLeader(t, "a sale is opened", all, func(r *Replica) error { return tryOpenSale(r, 10) })
	atLeader(t, "an entry of the newest version is written", all, func(r *Replica) error {
		_, err := propose(r, reserve(1), reserve(2))
		return err
	})
	for _, r := range all {
		closeNow(t, r)
	}
	all = []*Replica{open(t, cfgs[0]), open(t, cfgs[1])} // the third one stays away
	pretend(t, voters[3].Raft, func(string) string { return fmt.Sprintf("c4 four 0 0 %d nonce", time.Now().UnixMilli()) })
	refused := atLeader(t, "an older voter is refused", all, func(r *Replica) error { return r.AddVoter(t.Context(), voters[3]) })
	if refused == nil {
		t.Error("an older program was let in, though the log has entries that it cannot read")
	}
	stillWrites(t, "while a voter was not heard", unsaidVersion, all...)
}

// A log that a later program has written is not called damaged.
func TestLogOfALaterVersion(t *testing.T) {
	cfg := testConfig(t)
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 10)
	closeNow(t, r)
	log, err := wal.Open(filepath.Join(cfg.Dir, logFolder), wal.WithSegmentSize(cfg.SegmentBytes))
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	later := machine.Entry{Version: machine.EntryVersion + 1, Wall: 1}
	if err := errors.Join(log.StoreLog(&raft.Log{Index: last + 1, Term: 9, Data: later.Append(nil)}), log.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(cfg)
	if err == nil || strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), fmt.Sprintf("entry %d", last+1)) || !errors.Is(err, machine.ErrVersion) {
		t.Errorf("the start says: %v", err)
	}
}
