package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/lib/config"
)

// reloadInterval is the time between two looks at the config file. A change that is found by looking is
// taken when two looks saw the same, so that a file that is half written is not.
const reloadInterval = 500 * time.Millisecond

// NotWhileRunning is what CheckReload says of a field that cannot be changed.
const NotWhileRunning = "cannot be changed while the program runs: restart it to change this"

// Reloadable is a Program whose config can be changed while it runs. *C must be a config.Validator.
type Reloadable[C any] interface {
	Program
	// CheckReload reports, besides what Validate says of it, what cannot be taken over while the program
	// runs. It changes nothing.
	CheckReload(next *C, p *config.Problems)
	// Reload takes a config over that passed Validate and CheckReload. All of it holds from then on, or,
	// with an error, none.
	Reload(next C) error
}

// reloader watches the config file of a program.
type reloader[C any] struct {
	file    string
	spec    Spec[C]
	program Reloadable[C]
	rt      *Runtime

	running [sha256.Size]byte // of the text that was taken last
	tried   [sha256.Size]byte // of the text that was tried last
	seen    [sha256.Size]byte // of the last look
	missing bool              // the last look found no file that can be read

	taken, refused *metrics.Counter
	lastOK         *metrics.Gauge
	since          *metrics.Gauge
}

// newReloader makes the reloader of a program that runs with the given text of its file.
func newReloader[C any](file string, text []byte, spec Spec[C], program Reloadable[C], rt *Runtime) *reloader[C] {
	sum := sha256.Sum256(text)
	name := func(metric, labels string) string {
		return fmt.Sprintf("headgate_config_%s{program=%q%s}", metric, rt.Name, labels)
	}
	r := &reloader[C]{
		file: file, spec: spec, program: program, rt: rt, running: sum, tried: sum, seen: sum,
		taken:   rt.Metrics.NewCounter(name("reloads_total", `,result="taken"`)),
		refused: rt.Metrics.NewCounter(name("reloads_total", `,result="refused"`)),
		lastOK:  rt.Metrics.NewGauge(name("last_reload_successful", ""), nil),
		since:   rt.Metrics.NewGauge(name("loaded_timestamp_seconds", ""), nil),
	}
	r.lastOK.Set(1)
	r.since.Set(float64(time.Now().Unix()))
	rt.Health.Register("config", Degraded, func(context.Context) error {
		if err := rt.configRefusal(); err != nil {
			return fmt.Errorf("the config file was changed, and is not taken: %w", err)
		}
		return nil
	})
	return r
}

// run looks at the file until ctx ends, and whenever it is asked to.
func (r *reloader[C]) run(ctx context.Context, asked <-chan struct{}) {
	ticker := time.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			r.rt.Log.Info("asked to read the config again", "file", r.file)
			r.look(true)
		case <-ticker.C:
			r.look(false)
		}
	}
}

// look reads the file, and tries it when it is new. Asked for, it also tries again what was refused.
func (r *reloader[C]) look(asked bool) {
	text, err := config.ReadFile(r.file)
	if err != nil {
		if asked || !r.missing { // once, not at each look
			r.refuse(err)
		}
		r.missing = true
		return
	}
	sum := sha256.Sum256(text)
	settled := asked || sum == r.seen
	back := r.missing
	r.seen, r.missing = sum, false
	switch {
	case !settled || !asked && sum == r.tried && !back:
	case sum == r.running:
		r.tried = sum
		r.keep()
	default:
		r.tried = sum
		r.try(text, sum)
	}
}

// keep notes that the file says again, or still, what runs.
func (r *reloader[C]) keep() {
	if r.rt.configRefusal() != nil {
		r.rt.Log.Info("the config file is again what runs", "file", r.file, "hash", r.rt.ConfigHash())
	}
	r.rt.showRefusal(nil)
	r.lastOK.Set(1)
}

func (r *reloader[C]) try(text []byte, sum [sha256.Size]byte) {
	next := r.spec.Default()
	validator, ok := any(&next).(config.Validator)
	if !ok {
		r.refuse(errors.New("a config that is not validated is not taken over"))
		return
	}
	err := config.ParseChecked(r.file, text, validator, func(p *config.Problems) {
		checkSecrets(r.spec.Service(&next), p, &next)
		r.program.CheckReload(&next, p)
	})
	if err == nil {
		err = r.program.Reload(next)
	}
	if err != nil {
		r.refuse(err)
		return
	}
	before := r.rt.ConfigHash()
	r.running = sum
	r.rt.ShowConfig(&next)
	r.taken.Inc()
	r.lastOK.Set(1)
	r.since.Set(float64(time.Now().Unix()))
	r.rt.Log.Info("the config was changed", "file", r.file, "hash", r.rt.ConfigHash(), "before", before)
}

// refuse keeps what runs, and says why at every place where somebody may look; it is counted last, so that whoever
// sees it counted finds it said.
func (r *reloader[C]) refuse(err error) {
	defer r.refused.Inc()
	r.lastOK.Set(0)
	r.rt.showRefusal(err)
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		r.rt.Log.Error("the changed config is not taken: the one before holds on", "file", r.file, "error", err)
		return
	}
	for _, p := range wrong.Problems {
		r.rt.Log.Error("the changed config is not taken: the one before holds on", "file", p.File, "line", p.Line, "field", p.Field, "reason", p.Reason)
	}
	if wrong.Omitted > 0 {
		r.rt.Log.Error("the changed config has more that is wrong", "file", r.file, "problems", wrong.Omitted)
	}
}

// hangups passes requests to read the config again on; while one waits, others are the same one.
type hangups chan struct{}

func newHangups() hangups { return make(hangups, 1) }

func (h hangups) ask() {
	select {
	case h <- struct{}{}:
	default:
	}
}
