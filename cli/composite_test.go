package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"headgate.example/lib/service"
)

// recorder notes who stopped, in order.
type recorder struct {
	mu    sync.Mutex
	ended []string
}

type fakeProgram struct {
	name string
	seen *recorder
	die  chan error
}

func (p *fakeProgram) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case err := <-p.die:
		return err
	}
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	p.seen.ended = append(p.seen.ended, p.name)
	return nil
}

func fakeLayer(name string, seen *recorder, die chan error) layer {
	return layer{name: name, rt: service.NewRuntime(name, nil), open: func(context.Context, *service.Runtime) (service.Program, error) {
		return &fakeProgram{name: name, seen: seen, die: die}, nil
	}}
}

func TestLayersOutliveTheSignalAndStopInOrder(t *testing.T) {
	var seen recorder
	s := newStack()
	ctx, cancel := context.WithCancel(t.Context())
	for _, name := range []string{"counter", "backend", "interceptor"} {
		if err := s.start(ctx, fakeLayer(name, &seen, nil)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if report := s.layers[0].rt.Health.Check(t.Context()); !report.Ready() {
		t.Error("a running layer is not ready")
	}
	s.drain()
	if report := s.layers[0].rt.Health.Check(t.Context()); report.Ready() {
		t.Error("a draining layer is ready")
	}
	if err := s.stop("interceptor", "backend", "counter"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"interceptor", "backend", "counter"}; !slices.Equal(seen.ended, want) {
		t.Errorf("stopped in the order %v, want %v", seen.ended, want)
	}
}

func TestALayerThatDiesIsNamed(t *testing.T) {
	var seen recorder
	s := newStack()
	die := make(chan error, 1)
	if err := s.start(t.Context(), fakeLayer("counter", &seen, die)); err != nil {
		t.Fatal(err)
	}
	die <- errors.New("disk full")
	<-s.failed
	if err := s.stop("counter"); err == nil || !strings.Contains(err.Error(), "counter: disk full") {
		t.Errorf("got %v", err)
	}
}
