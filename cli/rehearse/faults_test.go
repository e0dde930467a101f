package rehearse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// parts stand for a cluster's members: each action takes its time, and is written down.
type parts struct {
	mu    sync.Mutex
	start time.Time
	takes map[string]time.Duration
	fails map[string]int // how often an action fails
	did   []string
	under map[string]bool
	worst []string // what was broken at the same time
}

func (p *parts) Do(_ context.Context, member, action string) error {
	p.mu.Lock()
	p.did = append(p.did, fmt.Sprintf("%s %s %s", time.Since(p.start), action, member))
	breaks := slices.Contains(FaultKinds(), FaultKind(action))
	if breaks {
		p.under[member] = true
		if len(p.under) > len(p.worst) {
			p.worst = nil
			for name := range p.under {
				p.worst = append(p.worst, name)
			}
		}
	}
	fail := p.fails[action+" "+member] > 0
	if fail {
		p.fails[action+" "+member]--
	}
	takes := p.takes[action]
	p.mu.Unlock()
	time.Sleep(takes) // in a bubble of synctest: no real time
	p.mu.Lock()
	defer p.mu.Unlock()
	if !breaks || action == "restart" {
		delete(p.under, member)
	}
	if fail {
		return errors.New("it would not")
	}
	return nil
}

func runFaults(ctx context.Context, p *parts, spec Spec, faults []Fault) []Broken {
	p.start, p.under = time.Now(), map[string]bool{}
	b := newBreaker(p, &Plan{Spec: spec}, aCluster(), p.start, func(string) {})
	return b.run(ctx, faults)
}

func TestFaultsAreMendedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parts{takes: map[string]time.Duration{"start": 4 * time.Second}}
		broken := runFaults(t.Context(), p, Spec{Lanes: 1}, []Fault{
			{At: time.Second, For: time.Second, Kind: Kill, Member: "backend-1"},
			{At: 3 * time.Second, For: time.Second, Kind: Pause, Member: "consumer-1"}, // while backend-1 still starts
			{At: 20 * time.Second, Kind: Restart, Member: "nginx"},
			{At: 25 * time.Second, For: 2 * time.Second, Kind: Alarm, Member: "rabbitmq"},
			{At: 30 * time.Second, For: 2 * time.Second, Kind: Cut, Member: "mariadb"},
		})
		want := "1s kill backend-1, 2s start backend-1, 6s pause consumer-1, 7s resume consumer-1, 20s restart nginx, " +
			"25s alarm rabbitmq, 27s calm rabbitmq, 30s cut mariadb, 32s heal mariadb"
		if got := strings.Join(p.did, ", "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if len(p.worst) != 1 {
			t.Errorf("broken at the same time: %v", p.worst)
		}
		if len(broken) != 5 || broken[0].Began != time.Second || broken[0].Mending != 2*time.Second || broken[0].Mended != 6*time.Second || broken[0].Error != "" {
			t.Errorf("%+v", broken)
		}
	})
}

// Two lanes break two parts at a time, but never two voters of a shard unless that is asked for.
func TestVotersOfAShardAreBrokenOneAfterTheOther(t *testing.T) {
	for _, same := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := &parts{}
			runFaults(t.Context(), p, Spec{Lanes: 2, SameShard: same}, []Fault{
				{At: time.Second, For: 5 * time.Second, Kind: Pause, Member: "counter-s1-1"},
				{At: 2 * time.Second, For: 5 * time.Second, Kind: Pause, Member: "counter-s1-2", Lane: 1},
			})
			if want := map[bool]int{false: 1, true: 2}[same]; len(p.worst) != want {
				t.Errorf("same shard %t: at the same time %v", same, p.worst)
			}
		})
	}
}

// Whatever happens, what was broken is mended.
func TestWhatWasBrokenIsMended(t *testing.T) {
	t.Run("when it is interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			p := &parts{}
			runFaults(ctx, p, Spec{Lanes: 1}, []Fault{
				{At: time.Second, For: time.Minute, Kind: Pause, Member: "nginx"}, {At: 2 * time.Minute, Kind: Restart, Member: "nginx"},
			})
			if got := strings.Join(p.did, ", "); got != "1s pause nginx, 2s resume nginx" {
				t.Error(got)
			}
		})
	})
	t.Run("when it fails at first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &parts{fails: map[string]int{"start nginx": 2}}
			broken := runFaults(t.Context(), p, Spec{Lanes: 1}, []Fault{{For: time.Second, Kind: Kill, Member: "nginx"}})
			if len(p.did) != 4 || broken[0].Error != "" {
				t.Errorf("%v, %+v", p.did, broken)
			}
		})
	})
	t.Run("and what could not be done is told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &parts{fails: map[string]int{"cut nginx": 1}}
			broken := runFaults(t.Context(), p, Spec{Lanes: 1}, []Fault{{For: time.Second, Kind: Cut, Member: "nginx"}})
			if got := strings.Join(p.did, ", "); got != "0s cut nginx, 0s heal nginx" || broken[0].Error != "it would not" {
				t.Errorf("%s, %+v", got, broken)
			}
			r := &Report{Faults: broken}
			if r.conclude(); r.Outcome != NotSettled || len(r.Notes) != 1 {
				t.Errorf("%+v", r)
			}
		})
	})
}

func TestHealing(t *testing.T) {
	var probes []Press
	written := map[int32]time.Duration{}
	for i := range int32(40) { // one each 250 ms
		at := time.Duration(i) * 250 * time.Millisecond
		p := Press{Buyer: i, Intended: at, Sent: at, At: at + 10*time.Millisecond, Status: 202}
		if at >= 2*time.Second && at < 3500*time.Millisecond {
			p.Status, p.Code = 503, "unavailable"
		}
		probes = append(probes, p)
		if written[i] = p.At + 100*time.Millisecond; at >= 6*time.Second && at < 7*time.Second {
			written[i] = p.At + 4*time.Second
		}
	}
	broken := []Broken{
		{Fault: Fault{Member: "a"}, Began: 2 * time.Second, Mended: 3 * time.Second},
		{Fault: Fault{Member: "b"}, Began: 6 * time.Second, Mended: 7 * time.Second},
	}
	heal(broken, probes, written, 10*time.Second)
	a, b := broken[0], broken[1]
	if !a.Healed || a.Probes != 16 || a.ProbesFailed != 6 || a.YesAgain != 1510*time.Millisecond || a.LedgerAgain != 1610*time.Millisecond {
		t.Errorf("%+v", a)
	}
	if !b.Healed || b.ProbesFailed != 0 || b.YesAgain != 10*time.Millisecond || b.LedgerAgain != 1110*time.Millisecond {
		t.Errorf("%+v", b)
	}
	heal(broken, probes[:13], written, 10*time.Second)
	if broken[0].Healed || broken[0].YesAgain != 0 {
		t.Errorf("no probe was answered with yes after it: %+v", broken[0])
	}
}
