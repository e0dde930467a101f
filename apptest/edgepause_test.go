//go:build unix

package apptest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/edges"
	"headgate.example/apptest/signer"
)

// TestAnEdgeThatStandsStill stops one of three edges in the middle of a crowd for longer than the others wait
// for it, and lets it go on: with the budgets that it had, requests that were sent to it meanwhile, and links
// that are gone. Each user has five requests. Nobody gets more than two budgets; nobody fewer than one, but for
// requests that were on their way to it, which may be served without anybody hearing of it; nobody is told
// anything else; and once the edges agree again nobody has a budget at two of them.
func TestAnEdgeThatStandsStill(t *testing.T) {
	const users, before, while, after = 3000, edgeBudget - 2, 3 * edgeBudget, 2 * edgeBudget
	cluster := edges.New(t, edges.Spec{Bin: bin, Edges: 3, Limits: fmt.Sprintf("{user_bucket: {rate: 0.001, burst: %d}}", edgeBudget)})
	three, paused := cluster.Edges, cluster.Edges[2]
	for _, e := range three {
		e.Start()
	}
	agreed := func(what string, list ...*edges.Edge) {
		waitFor(t, patience, what, func() bool { return edges.Agreed(list...) })
	}
	agreed("three edges agree", three...)
	crowd := &budgetCrowd{t: t, watch: startStopwatch(t), tokens: signer.New().Many("u", users), admitted: make([]atomic.Int32, users), owner: make([]atomic.Pointer[string], users)}
	crowd.ask(three...)
	crowd.run(before, nil)
	for i := range crowd.admitted {
		if got := crowd.admitted[i].Load(); got != before {
			t.Fatalf("user %d: %d requests admitted, want %d", i, got, before)
		}
	}

	sum := func() (n int) {
		for i := range crowd.admitted {
			n += int(crowd.admitted[i].Load())
		}
		return n
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		crowd.run(while, nil)
	}()
	waitFor(t, patience, "the crowd asks on", func() bool { return sum() > before*users })
	began := time.Now()
	if err := paused.Pause(); err != nil {
		t.Fatal(err)
	}
	crowd.ask(three[0], three[1]) // what has been sent to the third waits there
	agreed("two edges serve everybody", three[0], three[1])
	if err := paused.Resume(); err != nil {
		t.Fatal(err)
	}
	stood := time.Since(began)
	crowd.ask(three...)
	<-done
	agreed("three edges agree again", three...)
	crowd.run(after, nil) // whatever is left anywhere
	over, extra, others, missed := 0, 0, 0, 0
	for i := range crowd.admitted {
		got := int(crowd.admitted[i].Load())
		if got > 2*edgeBudget {
			t.Errorf("user %d: %d requests admitted, want at most %d", i, got, 2*edgeBudget)
		}
		missed += max(0, edgeBudget-got)
		if got <= edgeBudget {
			continue
		}
		over++
		extra += got - edgeBudget
		if owner := crowd.owner[i].Load(); owner == nil || *owner != paused.Name {
			others++
		}
	}
	unknown := int(cluster.Metric(`headgate_edge_hops_total{outcome="unknown"}`))
	t.Logf("an edge stood still for %s: %d of %d users were admitted %d times more than their %d in all (%d of them were not its own); %d requests of others were served unheard, of %d hops without an answer; %d answers were unavailable, %d requests failed",
		stood.Round(time.Millisecond), over, users, extra, edgeBudget, others, missed, unknown, crowd.away.Load(), crowd.failed.Load())
	if missed > unknown+int(crowd.failed.Load()) {
		t.Errorf("%d requests of users were neither admitted nor lost on their way", missed)
	}
	if crowd.other.Load() > 0 {
		t.Errorf("%d answers were neither 200, 429 nor a 503 that says what it is", crowd.other.Load())
	}
	settled := sum()
	crowd.run(1, nil)
	if n := sum() - settled; n > 0 {
		t.Errorf("%d requests were admitted of users whose budgets were used up", n)
	}
}
