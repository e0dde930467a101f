package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Limits of the admin port.
const (
	adminMaxHeaderBytes = 16 << 10
	adminHeaderTimeout  = 5 * time.Second
	adminWriteTimeout   = 5 * time.Minute // profiles take as long as they are asked to
	adminIdleTimeout    = time.Minute
	adminCloseTimeout   = time.Second
)

// Admin is the port for operators and their tools: /livez, /readyz, /status, /metrics, /debug/pprof/, /config
// and the pages (Runtime.Pages) of one program or of all layers of a process.
type Admin struct {
	listener net.Listener
	server   *http.Server
	mux      *http.ServeMux
	runtimes []*Runtime
}

// OpenAdmin binds the port; Run serves it. An address without a host is bound on 127.0.0.1. Port 0
// takes any free one: see Addr. The port serves what operators may see: do not open it to the world.
func OpenAdmin(addr string, runtimes ...*Runtime) (*Admin, error) {
	if strings.HasPrefix(addr, ":") {
		addr = "127.0.0.1" + addr
	}
	listener, err := Listen("service.admin", addr)
	if err != nil {
		return nil, err
	}
	a := &Admin{listener: listener, mux: http.NewServeMux(), runtimes: runtimes}
	log := slog.New(slog.DiscardHandler)
	if len(runtimes) > 0 {
		log = runtimes[0].Log
	}
	a.server = &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(a.mux), // a page in an operator's browser may not command
		ReadHeaderTimeout: adminHeaderTimeout,
		ReadTimeout:       adminHeaderTimeout,
		WriteTimeout:      adminWriteTimeout,
		IdleTimeout:       adminIdleTimeout,
		MaxHeaderBytes:    adminMaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	a.mux.HandleFunc("GET /livez", a.serveLive)
	a.mux.HandleFunc("GET /readyz", a.serveReady)
	a.mux.HandleFunc("GET /status", a.serveStatus)
	a.mux.HandleFunc("GET /metrics", a.serveMetrics)
	a.mux.HandleFunc("GET /config", a.serveConfig)
	a.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	a.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	a.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a.mux.HandleFunc("/", a.servePages)
	return a, nil
}

// servePages looks for a layer with a page for the request.
func (a *Admin) servePages(w http.ResponseWriter, r *http.Request) {
	for _, rt := range a.runtimes {
		if _, pattern := rt.Pages.Handler(r); pattern != "" {
			rt.Pages.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// Addr is the bound address, host:port.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Run serves until ctx is done, gives requests that are under way a second, and closes. It is called
// once.
func (a *Admin) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- a.server.Serve(a.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the admin port: %w", err)
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminCloseTimeout)
	defer cancel()
	if a.server.Shutdown(graceful) != nil { // a profile or a slow reader: not worth waiting for
		_ = a.server.Close() // the listener is closed already
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the admin port: %w", err)
	}
	return nil
}

// Close closes a port that is never run.
func (a *Admin) Close() error { return a.listener.Close() }

func (a *Admin) serveLive(w http.ResponseWriter, _ *http.Request) {
	plain(w)
	_, _ = io.WriteString(w, "ok\n") // the caller is gone when writing fails, here and below
}

// serveReady answers 200 when every layer is ready, else 503. `?verbose` lists each probe.
func (a *Admin) serveReady(w http.ResponseWriter, r *http.Request) {
	ready, degraded := true, false
	var detail strings.Builder
	for _, rt := range a.runtimes {
		report := rt.Health.Check(r.Context())
		ready = ready && report.Ready()
		degraded = degraded || report.Degraded()
		report.write(&detail, rt.Name+"/")
	}
	plain(w)
	word := "ok\n"
	switch {
	case !ready:
		word = "not ready\n"
		w.WriteHeader(http.StatusServiceUnavailable)
	case degraded:
		word = "ok, degraded\n"
	}
	if r.URL.Query().Has("verbose") {
		_, _ = io.WriteString(w, detail.String())
	}
	_, _ = io.WriteString(w, word)
}

// serveMetrics writes each layer's metrics, and those of the process once.
func (a *Admin) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, rt := range a.runtimes {
		rt.Metrics.WritePrometheus(w)
		labels := fmt.Sprintf(`program=%q,version=%q,go=%q`, rt.Name, Version(), goVersion())
		metrics.WriteGaugeUint64(w, "headgate_build_info{"+labels+"}", 1)
		if hash := rt.ConfigHash(); hash != "" {
			metrics.WriteGaugeUint64(w, fmt.Sprintf("headgate_config_info{program=%q,hash=%q}", rt.Name, hash), 1)
		}
	}
	metrics.WriteProcessMetrics(w)
}

// serveConfig shows each layer's effective config, its hash, and why a later one was not taken.
func (a *Admin) serveConfig(w http.ResponseWriter, _ *http.Request) {
	plain(w)
	for i, rt := range a.runtimes {
		c := rt.config.Load()
		if c == nil {
			continue
		}
		if i > 0 {
			_, _ = io.WriteString(w, "---\n")
		}
		_, _ = fmt.Fprintf(w, "# %s %s since %s\n", rt.Name, c.hash, c.since.UTC().Format(time.RFC3339))
		if c.refusal != nil {
			_, _ = fmt.Fprintf(w, "# the file was changed, and is not taken since %s:\n", c.refused.UTC().Format(time.RFC3339))
			for line := range strings.Lines(c.refusal.Error()) {
				_, _ = fmt.Fprintf(w, "#   %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
		_, _ = w.Write(c.view)
	}
}

func plain(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
