package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"headgate.example/backend"
	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/interceptor"
	"headgate.example/lib/service"
)

// Dev is the one process: all layers over loopback sockets, and one admin server for them.
type Dev struct {
	cfg    Config                 // with which it was opened
	config atomic.Pointer[Config] // with which it runs, see Reload
	folder *Folder                // nil: a config of one's own, nothing is seeded or printed of accounts
	rt     *service.Runtime
	stack  *stack
	admin  *service.Admin
	unlock func()

	stopAdmin context.CancelFunc
	adminDone chan struct{}
}

// DevSpec describes the process to service.Main. out is told where everything is, the layers log to
// logs. folder is nil when it runs on a config of one's own.
func DevSpec(folder *Folder, out, logs io.Writer) service.Spec[Config] {
	return service.Spec[Config]{
		Name:    "headgate",
		Default: DefaultConfig,
		Service: func(c *Config) service.Config {
			section := c.Service
			section.Admin = "" // opened here, for all layers
			// The layers stop one after the other.
			section.DrainFor = c.Interceptor.Service.DrainFor + c.Backend.Service.DrainFor + c.Consumer.Service.DrainFor + c.Counter.Service.DrainFor
			return section
		},
		Open: func(ctx context.Context, cfg Config, rt *service.Runtime) (service.Program, error) {
			log, err := service.NewLogger(cfg.Service, logs)
			if err != nil {
				return nil, err
			}
			d, err := OpenDev(ctx, cfg, folder, rt, log)
			if err != nil {
				return nil, err
			}
			return d, d.announce(out)
		},
	}
}

// readyWithin bounds the wait for layers that were started, such as a counter that reads a long log.
const readyWithin = 2 * time.Minute

// OpenDev starts the layers, each logging to log under its own name, seeds a new folder, and returns
// when buyers can buy. After an error nothing stays open.
func OpenDev(ctx context.Context, cfg Config, folder *Folder, rt *service.Runtime, log *slog.Logger) (d *Dev, err error) {
	d = &Dev{cfg: cfg, folder: folder, rt: rt, stack: newStack(), unlock: func() {}}
	d.config.Store(&cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if folder != nil {
		if d.unlock, err = lockFolder(folder.Path); err != nil {
			return d, err
		}
	}
	if err := d.checkAddresses(); err != nil {
		return d, err
	}
	layers := d.layers(log)
	runtimes := []*service.Runtime{rt}
	for _, l := range layers {
		runtimes = append(runtimes, l.rt)
	}
	if err := d.openAdmin(runtimes); err != nil {
		return d, err
	}
	for _, l := range layers {
		if err := d.stack.start(ctx, l); err != nil {
			return d, err
		}
	}
	patience, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := d.stack.ready(patience); err != nil {
		return d, err
	}
	if folder != nil && folder.seeding() {
		api, err := NewAPI(cfg.APIAddress(), cfg.Tokens())
		if err != nil {
			return d, err
		}
		if err := seed(ctx, &cfg, folder, api, rt.Log); err != nil {
			return d, err
		}
	}
	return d, nil
}

// layers are in the order of starting: the counter first, since the others ask it; then the backend,
// which brings the tables up to date before the consumer writes them; the edge last, since from then
// on buyers come.
func (d *Dev) layers(log *slog.Logger) []layer {
	cfg := d.cfg
	return []layer{
		newLayer("counter", log, &cfg.Counter, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
			return counter.Open(ctx, cfg.Counter, rt)
		}),
		newLayer("backend", log, &cfg.Backend, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
			return backend.Open(ctx, cfg.Backend, rt)
		}),
		newLayer("consumer", log, &cfg.Consumer, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
			return consumer.Open(ctx, cfg.Consumer, rt)
		}),
		newLayer("interceptor", log, &cfg.Interceptor, func(ctx context.Context, rt *service.Runtime) (service.Program, error) {
			return interceptor.Open(ctx, cfg.Interceptor, rt)
		}),
	}
}

// stopOrder: the edge first, so that no buyer is taken in who cannot be served, and what it has under
// way still finds backend and counter; then the backend, whose publishes end; the consumer finishes
// its batch, for which it needs the counter; the counter last.
func stopOrder() []string { return []string{"interceptor", "backend", "consumer", "counter"} }

// Run serves until ctx is done or a layer ends by itself, then stops the layers in order.
func (d *Dev) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-d.stack.failed:
		d.rt.Log.Error("a layer ended by itself: stopping the others")
	}
	return d.close()
}

func (d *Dev) close() error {
	d.stack.drain()
	err := d.stack.stop(stopOrder()...)
	if d.stopAdmin != nil { // last: until here it tells how the end goes
		d.stopAdmin()
		<-d.adminDone
	}
	d.unlock()
	return err
}

func (d *Dev) openAdmin(runtimes []*service.Runtime) error {
	if d.cfg.Service.Admin == "" {
		return nil
	}
	admin, err := service.OpenAdmin(d.cfg.Service.Admin, runtimes...)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	d.admin, d.stopAdmin, d.adminDone = admin, stop, make(chan struct{})
	go func() {
		defer close(d.adminDone)
		if err := admin.Run(ctx); err != nil {
			d.rt.Log.Error("the admin server ended", "error", err)
		}
	}()
	return nil
}

// checkAddresses finds every address that is taken before anything is started, and says what to do.
func (d *Dev) checkAddresses() error {
	var problems []error
	for _, a := range []struct{ field, address string }{
		{"service.admin", d.cfg.Service.Admin}, {"counter.listen", d.cfg.Counter.Listen}, {"counter.raft_listen", d.cfg.Counter.RaftListen},
		{"backend.listen", d.cfg.Backend.Listen}, {"interceptor.listen", d.cfg.Interceptor.Listen},
	} {
		if a.address == "" {
			continue
		}
		listener, err := service.Listen(a.field, a.address)
		if err == nil {
			err = listener.Close()
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// announce prints where everything is, at every start.
func (d *Dev) announce(w io.Writer) error {
	var b strings.Builder
	edge := "http://" + reachable(d.cfg.Interceptor.Listen)
	fmt.Fprintf(&b, "\nHeadgate %s is open.\n\n", service.Version())
	fmt.Fprintf(&b, "  shop page  %s/\n", edge)
	if d.admin != nil {
		fmt.Fprintf(&b, "  admin      http://%s/readyz?verbose   (also /metrics /config /debug/pprof/)\n", reachable(d.admin.Addr()))
	}
	host, port, err := net.SplitHostPort(reachable(d.cfg.Counter.Listen))
	if err == nil {
		fmt.Fprintf(&b, "  counter    REDISCLI_AUTH=%s redis-cli -h %s -p %s SALE.INFO 1\n", d.cfg.Counter.ClientPassword.Reveal(), host, port)
	}
	if d.folder != nil {
		fmt.Fprintf(&b, "  data       %s   (config: %s)\n", d.folder.Path, ConfigName)
		accounts, err := d.folder.Accounts()
		if err != nil {
			return err
		}
		for i, a := range accounts {
			title := ""
			if i == 0 {
				title = "accounts"
			}
			fmt.Fprintf(&b, "  %-9s  %-6s %s\n", title, a.Name, a.Password)
		}
	}
	b.WriteString("\nCtrl-C stops it; a second one ends it at once.\n\n")
	_, err = io.WriteString(w, b.String())
	return err
}
