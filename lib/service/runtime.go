package service

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/VictoriaMetrics/metrics"
)

// Runtime is what a layer gets from the program around it.
type Runtime struct {
	Name    string // interceptor, counter, backend or consumer
	Log     *slog.Logger
	Metrics *metrics.Set // name metrics headgate_<layer>_..., so that layers of one process do not clash
	Health  *Health
	// ConfigView gives the effective config as YAML, secrets masked (config.Masked); nil shows none.
	// It is set before the admin port serves, and must be safe for concurrent calls.
	ConfigView func() []byte
	// Pages are what the layer shows on the admin port besides what every program does; register on it
	// at any time. The patterns of layers that share a process must differ: the first layer's wins.
	Pages *http.ServeMux
	// ConfigFile is where the config came from, for programs that reload it; "" when it has none.
	ConfigFile string
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
