package replica

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// progressEvery is how often a step of recovery is logged while it lasts.
const progressEvery = time.Second

// Progress tells how far recovery has come, for logs, INFO and health checks. Recovery has steps; each
// counts its own units. All methods are safe for concurrent use.
type Progress struct {
	log *slog.Logger

	mu          sync.Mutex
	now         Step
	active      bool
	began, told time.Time
}

// Step is one step of recovery, under way.
type Step struct {
	Name        string // such as "checking the log"
	Unit        string // what is counted, such as "entries"
	Done, Total int64
}

// Percent is 0 to 100.
func (s Step) Percent() float64 {
	if s.Total <= 0 {
		return 0
	}
	return min(100, 100*float64(s.Done)/float64(s.Total))
}

func (s Step) String() string {
	return fmt.Sprintf("%s: %d of %d %s, %.1f %%", s.Name, s.Done, s.Total, s.Unit, s.Percent())
}

// NewProgress makes a Progress that logs each step at its end, and once a second while it lasts.
func NewProgress(log *slog.Logger) *Progress { return &Progress{log: log} }

// Step is what recovery is at; false when it is over, or between two steps.
func (p *Progress) Step() (Step, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.active
}

func (p *Progress) begin(name, unit string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.active = Step{Name: name, Unit: unit, Total: total}, true
	p.began = time.Now()
	p.told = p.began
}

// reach notes that done units of the step are done.
func (p *Progress) reach(done int64) {
	if step, tell := p.note(done); tell { // outside the lock: writing may wait
		p.log.Info("recovering", "step", step.Name, "done", step.Done, "of", step.Total, "unit", step.Unit, "percent", fmt.Sprintf("%.1f", step.Percent()))
	}
}

// reachOf is reach for a step whose total is known only on the way.
func (p *Progress) reachOf(done, total int) {
	p.mu.Lock()
	p.now.Total = int64(total)
	p.mu.Unlock()
	p.reach(int64(done))
}

func (p *Progress) note(done int64) (step Step, tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.active {
		return Step{}, false
	}
	p.now.Done = done
	now := time.Now()
	if tell = now.Sub(p.told) >= progressEvery; tell {
		p.told = now
	}
	return p.now, tell
}

// end closes the step, if it is under way.
func (p *Progress) end(name string) {
	step, active := p.Step()
	if !active || step.Name != name {
		return
	}
	p.log.Info("recovered", "step", name, "total", step.Total, "unit", step.Unit, "took", p.since().Round(time.Millisecond))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = false
}

func (p *Progress) since() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.began)
}

// The steps, in their order.
const (
	stepSnapshots = "checking the snapshots"
	stepFiles     = "checking the log's files"
	stepLog       = "checking the log"
	stepLoad      = "loading the snapshot"
	stepApply     = "applying the log"
)

// counted reports what is read through it.
type counted struct {
	io.Reader
	progress *Progress
	read     int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += int64(n)
	c.progress.reach(c.read)
	return n, err
}

// beginApplying starts the last step: raft applies the log once it knows how far it is committed.
func (r *Replica) beginApplying() {
	from, last := r.raft.AppliedIndex(), r.raft.LastIndex()
	if last <= from {
		return
	}
	r.applyFrom, r.applyTo, r.applyDone = from, last, r.cfg.LongWork()
	r.cfg.Progress.begin(stepApply, "entries", int64(last-from))
	r.applying.Store(true)
}

// noteApplying follows the last step. raft applies entries that it tells nobody of, so its own index
// says when the step is over.
func (r *Replica) noteApplying() {
	if !r.applying.Load() {
		return
	}
	done := r.applied.Load()
	if done >= r.applyTo || r.raft.AppliedIndex() >= r.applyTo {
		r.endApplying()
		return
	}
	r.cfg.Progress.reach(int64(max(done, r.applyFrom) - r.applyFrom))
}

func (r *Replica) endApplying() {
	if r.applying.CompareAndSwap(true, false) {
		r.cfg.Progress.end(stepApply)
		r.applyDone()
	}
}

// Recovering says what recovery is at; false when it is over.
func (r *Replica) Recovering() (Step, bool) {
	r.noteApplying()
	return r.cfg.Progress.Step()
}
