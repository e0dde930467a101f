package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// ProbeTimeout bounds one probe of a health check.
const ProbeTimeout = 2 * time.Second

// Level says what a failing probe means.
type Level int

// The levels of a probe.
const (
	Required Level = iota // without it the program cannot do its work: not ready
	Degraded              // without it the program works on, with less: shown, but ready
)

// String is the level's word.
func (l Level) String() string {
	if l == Degraded {
		return "degraded"
	}
	return "required"
}

// Health says whether a program is fit to be sent work. A new one is not ready until SetReady. It is
// safe for concurrent use.
type Health struct {
	mu       sync.Mutex
	probes   []*probe
	ready    bool
	draining bool
	waiting  error // what the start waits for
}

type probe struct {
	name  string
	level Level
	run   func(ctx context.Context) error

	mu      sync.Mutex
	pending *pendingCheck // the run that is under way
}

// pendingCheck is one run of a probe, shared by all who ask meanwhile.
type pendingCheck struct {
	since time.Time
	done  chan struct{}
	err   error
}

// NewHealth makes a Health without probes.
func NewHealth() *Health { return &Health{} }

// Register adds a probe. It must return soon after its context ends, which is at most ProbeTimeout
// later; while one run of it is under way, no other is started. Probes run on each Check, so they must
// be cheap. A level other than Required is Degraded. Names should be unique.
func (h *Health) Register(name string, level Level, run func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probes = append(h.probes, &probe{name: name, level: level, run: run})
}

// SetReady says that the program has started (or, with false, that it must not be sent work for now).
func (h *Health) SetReady(ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = ready
}

// SetWaiting says what the start waits for, and why; nil: for nothing any more. It shows until SetReady.
func (h *Health) SetWaiting(reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = reason
}

// SetDraining says that the program is stopping. It cannot be taken back.
func (h *Health) SetDraining() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Result is what one probe said.
type Result struct {
	Name  string
	Level Level
	Err   error // nil: it works
}

// Report is the state of a program's health.
type Report struct {
	Started  bool  // SetReady(true) was called
	Waiting  error // for what it waits to start; nil: for nothing
	Draining bool
	Results  []Result // in the order of registration
}

// Ready reports whether the program should be sent work: started, not draining, and nothing that it
// requires is failing.
func (r *Report) Ready() bool {
	if !r.Started || r.Draining {
		return false
	}
	for _, result := range r.Results {
		if result.Level == Required && result.Err != nil {
			return false
		}
	}
	return true
}

// Degraded reports whether some probe fails, required or not.
func (r *Report) Degraded() bool {
	for _, result := range r.Results {
		if result.Err != nil {
			return true
		}
	}
	return false
}

// write writes the report for people, each line after prefix.
func (r *Report) write(w io.Writer, prefix string) {
	if !r.Started {
		why := ""
		if r.Waiting != nil {
			why = ": waiting: " + r.Waiting.Error()
		}
		_, _ = fmt.Fprintf(w, "[-] %sstarted: not yet%s\n", prefix, why)
	}
	if r.Draining {
		_, _ = fmt.Fprintf(w, "[-] %sdraining: stopping\n", prefix)
	}
	for _, result := range r.Results {
		if result.Err == nil {
			_, _ = fmt.Fprintf(w, "[+] %s%s (%s): ok\n", prefix, result.Name, result.Level)
			continue
		}
		_, _ = fmt.Fprintf(w, "[-] %s%s (%s): %v\n", prefix, result.Name, result.Level, result.Err)
	}
}

// Check runs all probes at once and waits for them, at most ProbeTimeout or until ctx ends.
func (h *Health) Check(ctx context.Context) Report {
	h.mu.Lock()
	report := Report{Started: h.ready, Waiting: h.waiting, Draining: h.draining, Results: make([]Result, len(h.probes))}
	probes := h.probes[:len(h.probes):len(h.probes)]
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	started := make([]*pendingCheck, len(probes))
	for i, p := range probes {
		started[i] = p.start()
	}
	for i, p := range probes {
		report.Results[i] = Result{Name: p.name, Level: p.level, Err: started[i].wait(ctx)}
	}
	return report
}

// start begins a run, or joins the one that is under way. The run has a context of its own, so that
// whoever asked first cannot fail it for the others by going away.
func (p *probe) start() *pendingCheck {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending != nil {
		return p.pending
	}
	check := &pendingCheck{since: time.Now(), done: make(chan struct{})}
	p.pending = check
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), ProbeTimeout)
		defer cancel()
		err := p.guarded(ctx)
		p.mu.Lock()
		p.pending = nil
		p.mu.Unlock()
		check.err = err
		close(check.done)
	}()
	return check
}

func (p *probe) guarded(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the probe panicked: %v", r)
		}
	}()
	return p.run(ctx)
}

var errProbeSlow = errors.New("the probe has not answered")

func (c *pendingCheck) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	select { // both were ready
	case <-c.done:
		return c.err
	default:
		return fmt.Errorf("%w for %s", errProbeSlow, time.Since(c.since).Round(time.Millisecond))
	}
}
