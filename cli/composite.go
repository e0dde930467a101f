package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"headgate.example/lib/service"
)

// layer is one of the programs inside the process.
type layer struct {
	name string
	rt   *service.Runtime
	open func(ctx context.Context, rt *service.Runtime) (service.Program, error)
}

// running is a layer that was started.
type running struct {
	layer
	program service.Program
	stop    context.CancelFunc
	done    chan struct{}
	err     error // read after done
}

// stack holds running layers. They are started from the one that the others lean on upwards.
type stack struct {
	layers []*running
	failed chan struct{} // closed when a layer ends before it was told to
	once   sync.Once
}

func newStack() *stack { return &stack{failed: make(chan struct{})} }

// start opens a layer and serves it in a goroutine of its own, which stopAll waits for.
func (s *stack) start(ctx context.Context, l layer) error {
	program, err := l.open(ctx, l.rt)
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	// A layer ends when its turn comes, not when the process is told to stop.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{layer: l, program: program, stop: stop, done: make(chan struct{})}
	s.layers = append(s.layers, r)
	l.rt.Health.SetReady(true)
	go func() {
		defer close(r.done)
		r.err = program.Run(own)
		if own.Err() == nil {
			if r.err == nil {
				r.err = errors.New("ended by itself")
			}
			s.once.Do(func() { close(s.failed) })
		}
	}()
	return nil
}

// ready waits until every layer is fit to be sent work, or one has ended. Its error says which was not.
func (s *stack) ready(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var waiting error
		for _, r := range s.layers {
			if report := r.rt.Health.Check(ctx); !report.Ready() {
				waiting = fmt.Errorf("%s is not ready: %w", r.name, whyNot(report))
				break
			}
		}
		if waiting == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.failed:
			return waiting
		case <-ctx.Done():
			return waiting
		}
	}
}

func whyNot(report service.Report) error {
	for _, result := range report.Results {
		if result.Err != nil && result.Level == service.Required {
			return fmt.Errorf("%s: %w", result.Name, result.Err)
		}
	}
	return errors.New("it has just been started")
}

// drain turns every layer's health red: balancers look elsewhere before the first listener closes.
func (s *stack) drain() {
	for _, r := range s.layers {
		r.rt.Health.SetDraining()
	}
}

// stop ends the named layers, each when the one before has drained, and gives what went wrong.
func (s *stack) stop(names ...string) error {
	var failures []error
	for _, name := range names {
		for _, r := range s.layers {
			if r.name != name {
				continue
			}
			r.stop()
			<-r.done
			if r.err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", r.name, r.err))
			}
		}
	}
	return errors.Join(failures...)
}

// newLayer describes a layer with a runtime of its own.
func newLayer(name string, log *slog.Logger, cfg any, open func(context.Context, *service.Runtime) (service.Program, error)) layer {
	rt := service.NewRuntime(name, log)
	rt.ShowConfig(cfg)
	return layer{name: name, rt: rt, open: open}
}
