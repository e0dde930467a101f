package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
)

type programConfig struct {
	Service  Config        `yaml:"service"`
	Password config.Secret `yaml:"password"`
	Listen   string        `yaml:"listen"`
}

func (c *programConfig) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	if c.Listen == "" {
		p.Addf("listen", "is missing")
	}
}

// defaults are for development: what tests do with secrets is not about their strength.
func defaults() programConfig {
	c := programConfig{Service: DefaultConfig(), Listen: "a:1"}
	c.Service.Mode = Development
	return c
}

// program runs what a test tells it to.
type program struct {
	run func(ctx context.Context) error
}

func (p *program) Run(ctx context.Context) error { return p.run(ctx) }

// output may be read while a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func specOf(open func(ctx context.Context, c programConfig, rt *Runtime) (Program, error)) Spec[programConfig] {
	return Spec[programConfig]{
		Name:    "test",
		Default: defaults,
		Service: func(c *programConfig) Config { return c.Service },
		Open:    open,
	}
}

func runs(run func(ctx context.Context) error) Spec[programConfig] {
	return specOf(func(context.Context, programConfig, *Runtime) (Program, error) { return &program{run}, nil })
}

func untilStopped(ctx context.Context) error { <-ctx.Done(); return nil }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMainFlags(t *testing.T) {
	good, bad := write(t, "listen: b:2\npassword: hidden-word\n"), write(t, "listne: b:2\nservice: {drain_for: 5}\n")
	never := specOf(func(context.Context, programConfig, *Runtime) (Program, error) {
		return nil, errors.New("must not be opened")
	})
	empty := never
	empty.Default = func() programConfig { return programConfig{Service: DefaultConfig()} }
	for _, c := range []struct {
		name           string
		spec           Spec[programConfig]
		args           []string
		code           int
		stdout, stderr string
	}{
		{"version", never, []string{"--version"}, 0, "test " + Version() + " (go1.", ""},
		{"check", never, []string{"--check", "--config", good}, 0, "test: the configuration is right (hash ", ""},
		{"check of the defaults", never, []string{"--check"}, 0, "test: the configuration is right", ""},
		{"check of a wrong one", never, []string{"--check", "--config", bad}, 2, "", bad + `:1: listne: unknown key; did you mean "listen"?` + "\n" + bad + ":2: service.drain_for: want a duration"},
		{"wrong config", never, []string{"--config", bad}, 2, "", "did you mean"},
		{"no such file", never, []string{"--config", bad + "x"}, 2, "", "test: reading the config: open "},
		{"defaults are not enough", empty, nil, 2, "", "test: the defaults need a --config file beside them: listen: is missing"},
		{"unknown flag", never, []string{"--verbose"}, 2, "", "flag provided but not defined"},
		{"argument", never, []string{"start"}, 2, "", `test: unexpected argument "start"; see --help`},
		{"help", never, []string{"--help"}, 0, "", "-config file"},
		{"cannot open", never, nil, 1, "", "test: starting: must not be opened"},
	} {
		var stdout, stderr output
		if code := run(c.spec, c.args, &stdout, &stderr, nil); code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", c.name, code, c.code, stderr.String())
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) || c.stdout == "" && stdout.String() != "" {
			t.Errorf("%s:\nstdout %q, want %q\nstderr %q, want %q", c.name, stdout.String(), c.stdout, stderr.String(), c.stderr)
		}
		if strings.Contains(stdout.String()+stderr.String(), "hidden-word") {
			t.Errorf("%s: a secret shows", c.name)
		}
	}
}

// The first signal turns health red before the program is told, and the admin port outlives it.
func TestStopsInOrder(t *testing.T) {
	signals := make(chan os.Signal, 2)
	var rt *Runtime
	var admin string
	started, finish := make(chan struct{}), make(chan struct{})
	spec := specOf(func(_ context.Context, c programConfig, r *Runtime) (Program, error) {
		rt = r
		admin = "http://" + c.Service.Admin
		if _, view := get(t, admin+"/config"); !strings.Contains(view, "# "+r.Name+" "+r.ConfigHash()) || !strings.Contains(view, "password: '***'") {
			t.Errorf("while opening, /config says %s", view)
		}
		if code, _ := get(t, admin+"/readyz"); code != 503 {
			t.Errorf("while opening, /readyz says %d", code)
		}
		return &program{func(ctx context.Context) error {
			close(started)
			<-ctx.Done()
			if report := r.Health.Check(context.WithoutCancel(ctx)); !report.Draining {
				t.Error("told to stop before health was red")
			}
			<-finish
			return nil
		}}, nil
	})
	path := write(t, "password: hidden\nservice:\n  admin: "+servicetest.FreePort(t)+"\n")
	var stderr output
	code := make(chan int, 1)
	go func() { code <- run(spec, []string{"--config", path}, io.Discard, &stderr, signals) }()
	<-started
	if status, _ := get(t, admin+"/readyz"); status != 200 {
		t.Errorf("when running, /readyz says %d", status)
	}
	signals <- syscall.SIGTERM
	servicetest.Eventually(t, 30*time.Second, "/readyz is red", func() bool {
		report := rt.Health.Check(t.Context())
		return !report.Ready()
	})
	if status, _ := get(t, admin+"/readyz"); status != 503 {
		t.Errorf("when draining, /readyz says %d", status)
	}
	close(finish)
	if c := <-code; c != 0 {
		t.Errorf("exit code %d: %s", c, stderr.String())
	}
	if !strings.Contains(stderr.String(), "msg=stopped program=test") && !strings.Contains(stderr.String(), "msg=stopped") {
		t.Errorf("the log is %s", stderr.String())
	}
	if _, err := http.Get(admin + "/livez"); err == nil { //nolint:noctx,bodyclose // it must be refused
		t.Error("the admin port is still open")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	signals := make(chan os.Signal, 2)
	release := make(chan struct{})
	ended := make(chan struct{})
	spec := runs(func(context.Context) error { defer close(ended); <-release; return nil })
	signals <- syscall.SIGINT
	signals <- syscall.SIGINT
	var stderr output
	if code := run(spec, nil, io.Discard, &stderr, signals); code != ExitInterrupt {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), "test: ended at once by a second signal") {
		t.Errorf("said %s", stderr.String())
	}
	close(release)
	<-ended
}

func TestGivesUpOnAProgramThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		release := make(chan struct{})
		spec := runs(func(context.Context) error { <-release; return nil })
		signals <- syscall.SIGTERM
		start := time.Now()
		var stderr output
		if code := run(spec, nil, io.Discard, &stderr, signals); code != ExitFailed {
			t.Errorf("exit code %d", code)
		}
		if took, want := time.Since(start), DefaultConfig().DrainFor+stopGrace; took != want {
			t.Errorf("gave up after %s, want %s", took, want)
		}
		if !strings.Contains(stderr.String(), "did not stop within 25s of the signal") {
			t.Errorf("said %s", stderr.String())
		}
		close(release)
	})
}

func TestProgramsThatEndByThemselves(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(context.Context) error
		code int
		says string
	}{
		{"cleanly", func(context.Context) error { return nil }, 0, "stopped"},
		{"with an error", func(context.Context) error { return fmt.Errorf("serving: %w", io.ErrUnexpectedEOF) }, 1, "test: serving: unexpected EOF\n"},
	} {
		var stderr output
		if code := run(runs(c.run), nil, io.Discard, &stderr, nil); code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: exit code %d, said %s", c.name, code, stderr.String())
		}
	}
}

// A failure while draining is told, though a signal was the reason to stop.
func TestFailureWhileDraining(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	var stderr output
	spec := runs(func(ctx context.Context) error { <-ctx.Done(); return errors.New("the store did not close") })
	if code := run(spec, nil, io.Discard, &stderr, signals); code != ExitFailed || !strings.Contains(stderr.String(), "the store did not close") {
		t.Errorf("exit code %d, said %s", code, stderr.String())
	}
}

func TestSignalWhileOpening(t *testing.T) {
	signals := make(chan os.Signal, 2)
	spec := specOf(func(ctx context.Context, _ programConfig, _ *Runtime) (Program, error) {
		signals <- syscall.SIGTERM
		<-ctx.Done() // waiting for a database that never comes
		return nil, ctx.Err()
	})
	var stderr output
	if code := run(spec, nil, io.Discard, &stderr, signals); code != ExitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

// The whole of Main with a real signal to this very process.
func TestMainWithARealSignal(t *testing.T) {
	spec := runs(func(ctx context.Context) error {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(syscall.SIGTERM)
		}
		if err != nil {
			return err
		}
		return untilStopped(ctx)
	})
	var stderr output
	if code := Main(spec, nil, io.Discard, &stderr); code != ExitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if !strings.Contains(stderr.String(), "signal=terminated") {
		t.Errorf("the log is %s", stderr.String())
	}
}
