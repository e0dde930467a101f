package service

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/lib/config"
)

// Runtime is what a layer gets from the program around it.
type Runtime struct {
	Name    string // interceptor, counter, backend or consumer
	Log     *slog.Logger
	Metrics *metrics.Set // name metrics headgate_<layer>_..., so that layers of one process do not clash
	Health  *Health
	// Pages are what the layer shows on the admin port besides what every program does; register on it
	// at any time. The patterns of layers that share a process must differ: the first layer's wins.
	Pages *http.ServeMux

	config atomic.Pointer[shownConfig]
}

// shownConfig is what the admin port tells of a layer's config. It does not change.
type shownConfig struct {
	view    []byte // the effective config as YAML, secrets masked
	hash    string
	since   time.Time
	refusal error // why a later one was not taken; nil: none was refused since
	refused time.Time
}

// ShowConfig says which config, a pointer, the layer runs with; it is not read after the call.
func (rt *Runtime) ShowConfig(cfg any) {
	view, err := config.Masked(cfg)
	if err != nil { // a type that YAML cannot hold: a fault of the program, found by any test that looks
		view = []byte("# " + err.Error() + "\n")
	}
	rt.config.Store(&shownConfig{view: view, hash: config.Hash(cfg), since: time.Now()})
}

// ConfigHash is the hash of the config that the layer runs with (config.Hash), "" when none is shown.
func (rt *Runtime) ConfigHash() string {
	if c := rt.config.Load(); c != nil {
		return c.hash
	}
	return ""
}

// showRefusal says that a changed config was not taken, and why; nil: it is as it was again.
func (rt *Runtime) showRefusal(err error) {
	if c := rt.config.Load(); c != nil {
		next := *c
		next.refusal, next.refused = err, time.Now()
		rt.config.Store(&next)
	}
}

// configRefusal is why the config file is not what the layer runs with.
func (rt *Runtime) configRefusal() error {
	if c := rt.config.Load(); c != nil {
		return c.refusal
	}
	return nil
}

// NewRuntime makes a layer's runtime; every log line names the layer. A nil logger discards.
func NewRuntime(name string, log *slog.Logger) *Runtime {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{Name: name, Log: log.With("program", name), Metrics: metrics.NewSet(), Health: NewHealth(), Pages: http.NewServeMux()}
}

// Program is a layer that is open: its listeners are bound.
type Program interface {
	// Run serves until ctx is done, then drains and closes; nil on a clean stop. It is called once.
	Run(ctx context.Context) error
}
