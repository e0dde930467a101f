package service

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadiness(t *testing.T) {
	broken := errors.New("is away")
	h := NewHealth()
	var required, degraded error
	h.Register("database", Required, func(context.Context) error { return required })
	h.Register("peer", Degraded, func(context.Context) error { return degraded })
	check := func(what string, ready, isDegraded bool) {
		t.Helper()
		report := h.Check(t.Context())
		if report.Ready() != ready || report.Degraded() != isDegraded {
			t.Errorf("%s: ready %v, degraded %v; want %v, %v", what, report.Ready(), report.Degraded(), ready, isDegraded)
		}
	}
	check("before the start", false, false)
	h.SetReady(true)
	check("started", true, false)
	degraded = broken
	check("a dead peer makes nobody unready", true, true)
	required = broken
	check("without its database", false, true)
	required, degraded = nil, nil
	check("healed", true, false)
	h.SetDraining()
	check("draining", false, false)
	h.SetReady(true)
	check("draining cannot be taken back", false, false)
}

// A probe that hangs or panics fails, and nothing piles up behind it however often one asks.
func TestHangingAndPanickingProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		h.SetReady(true)
		release := make(chan struct{})
		var runs atomic.Int64
		h.Register("hangs", Required, func(context.Context) error { runs.Add(1); <-release; return nil })
		h.Register("panics", Degraded, func(context.Context) error { panic("oh") })
		h.Register("obeys", Degraded, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		for range 5 {
			start := time.Now()
			report := h.Check(t.Context())
			if took := time.Since(start); took != ProbeTimeout {
				t.Fatalf("took %s", took)
			}
			if report.Ready() || !errors.Is(report.Results[0].Err, errProbeSlow) {
				t.Fatalf("hanging: %+v", report)
			}
			if err := report.Results[1].Err; err == nil || !strings.Contains(err.Error(), "panicked: oh") {
				t.Fatalf("panicking: %v", err)
			}
			if report.Results[2].Err == nil {
				t.Fatal("a probe that ran out of time passed")
			}
		}
		if n := runs.Load(); n != 1 {
			t.Errorf("the hanging probe was started %d times", n)
		}
		close(release)
		synctest.Wait()
		if report := h.Check(t.Context()); !report.Ready() {
			t.Errorf("after it came to itself: %+v", report)
		}
	})
}

// Whoever asks first and goes away does not fail the probe for the others.
func TestCheckOfAnImpatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth()
		h.SetReady(true)
		h.Register("slow", Required, func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if report := h.Check(gone); report.Ready() {
			t.Error("ready without an answer")
		}
		if report := h.Check(t.Context()); !report.Ready() {
			t.Errorf("the second caller got %+v", report.Results)
		}
	})
}
