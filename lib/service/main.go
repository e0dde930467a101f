package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"headgate.example/lib/config"
)

// Exit codes of Main.
const (
	ExitOK        = 0
	ExitFailed    = 1   // could not start, failed while running, or did not stop in time
	ExitUsage     = 2   // wrong flags or a wrong config
	ExitInterrupt = 130 // a second signal
)

// stopGrace is what a program has beyond drain_for to close its stores.
const stopGrace = 5 * time.Second

// Spec describes a program to Main.
type Spec[C any] struct {
	Name    string
	Default func() C                                                       // the config that the file is read over; *C should be a config.Validator
	Service func(*C) Config                                                // where the config keeps its service section
	Open    func(ctx context.Context, cfg C, rt *Runtime) (Program, error) // binds listeners; ctx ends on a signal
}

// Main runs a program and gives its exit code. Flags: --config FILE, --check (read the config, say
// whether it is right, end), --version. Without --config the defaults are used, if they are complete.
// Logs go to stderr. SIGTERM and SIGINT stop the program as the package comment says; a Reloadable
// program reads its config file again on SIGHUP and when the file has changed. Where Main runs, no one
// else should handle these signals.
func Main[C any](spec Spec[C], args []string, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	return run(spec, args, stdout, stderr, signals)
}

func run[C any](spec Spec[C], args []string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	flags := flag.NewFlagSet(spec.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "read the configuration from this YAML `file`")
	check := flags.Bool("check", false, "check the configuration and end")
	showVersion := flags.Bool("version", false, "print the version and end")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitUsage // the flag set has said what is wrong
	}
	if flags.NArg() > 0 {
		complain(stderr, spec.Name, fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0)))
		return ExitUsage
	}
	if *showVersion {
		_, _ = fmt.Fprintf(stdout, "%s %s (%s)\n", spec.Name, Version(), goVersion())
		return ExitOK
	}
	cfg := spec.Default()
	text, err := load(*file, &cfg, spec.Service)
	if err != nil {
		complain(stderr, spec.Name, err)
		return ExitUsage
	}
	if *check {
		_, _ = fmt.Fprintf(stdout, "%s: the configuration is right (hash %s)\n", spec.Name, config.Hash(&cfg))
		return ExitOK
	}
	log, err := NewLogger(spec.Service(&cfg), stderr)
	if err != nil {
		complain(stderr, spec.Name, err)
		return ExitUsage
	}
	rt := NewRuntime(spec.Name, log)
	rt.ShowConfig(&cfg)
	section := spec.Service(&cfg)
	warnOfMode(section, &cfg, rt.Log)
	open := func(ctx context.Context) (Program, watch, error) {
		program, err := spec.Open(ctx, cfg, rt)
		if reloadable, ok := program.(Reloadable[C]); ok && err == nil && *file != "" {
			return program, newReloader(*file, text, spec, reloadable, rt).run, nil
		}
		return program, nil, err
	}
	code, err := serve(section, open, rt, signals)
	if err != nil {
		complain(stderr, spec.Name, err)
	}
	return code
}

func complain(stderr io.Writer, name string, err error) {
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err) // there is nobody else to tell
}

// load reads the file over the defaults, and gives its text; without one, the defaults must do.
func load[C any](file string, cfg *C, section func(*C) Config) ([]byte, error) {
	validator, ok := any(cfg).(config.Validator)
	switch {
	case file != "":
		text, err := config.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !ok {
			return text, config.Parse(file, text, cfg)
		}
		err = config.ParseChecked(file, text, validator, func(p *config.Problems) { checkSecrets(section(cfg), p, cfg) })
		return text, ofAnotherVersion(err)
	case ok:
		if err := config.Check(validator); err != nil {
			return nil, fmt.Errorf("the defaults need a --config file beside them: %w", err)
		}
	}
	return nil, nil
}

func checkSecrets[C any](section Config, p *config.Problems, cfg *C) { section.CheckSecrets(p, cfg) }

// ofAnotherVersion adds to an error about unknown keys which program says so.
func ofAnotherVersion(err error) error {
	var wrong *config.Error
	if errors.As(err, &wrong) && wrong.Unknown() {
		return fmt.Errorf("%w\nthis is version %s: keys that it does not know are misspelt, or belong to another version of the program", err, Version())
	}
	return err
}

// watch looks after the config file of an open program until ctx ends; nil: the program cannot reload.
type watch = func(ctx context.Context, asked <-chan struct{})

// opener opens a program.
type opener func(context.Context) (Program, watch, error)

// serve opens the admin port and the program, runs both, and stops them in order.
func serve(section Config, open opener, rt *Runtime, signals <-chan os.Signal) (int, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The admin port is first up and last down, to tell of the rest.
	adminDone := make(chan error, 1)
	adminCtx, stopAdmin := context.WithCancel(context.Background())
	if section.Admin != "" {
		admin, err := OpenAdmin(section.Admin, rt)
		if err != nil {
			stopAdmin()
			return ExitFailed, err
		}
		rt.Log.Info("admin port open", "addr", admin.Addr())
		go func() { adminDone <- admin.Run(adminCtx) }()
	} else {
		adminDone <- nil
	}
	defer func() {
		stopAdmin()
		<-adminDone
	}()

	done := make(chan error, 1)
	asked := newHangups()
	go func() { done <- openAndRun(ctx, open, rt, asked) }()
	return supervise(section, done, stop, rt, signals, asked)
}

// openAndRun is the program's whole life, in one goroutine.
func openAndRun(ctx context.Context, open opener, rt *Runtime, asked hangups) error {
	program, look, err := open(ctx)
	if err != nil {
		if ctx.Err() != nil { // stopped while starting: that is no failure
			return nil
		}
		return fmt.Errorf("starting: %w", err)
	}
	rt.Health.SetReady(true)
	rt.Log.Info("ready", "version", Version())
	if look == nil {
		look = func(ctx context.Context, asked <-chan struct{}) { cannotReload(ctx, asked, rt) }
	}
	// Until the program is told to stop: what it drains by does not change any more.
	var group sync.WaitGroup
	defer group.Wait()
	watching, end := context.WithCancel(ctx)
	defer end()
	group.Go(func() { look(watching, asked) })
	return program.Run(ctx)
}

// cannotReload answers SIGHUP where nothing can be reloaded; it would end the process otherwise.
func cannotReload(ctx context.Context, asked <-chan struct{}, rt *Runtime) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			rt.Log.Warn("SIGHUP: this program does not read its config again while it runs; restart it")
		}
	}
}

// supervise waits for the program's end and for signals.
func supervise(section Config, done <-chan error, stop context.CancelFunc, rt *Runtime, signals <-chan os.Signal, asked hangups) (int, error) {
	for told := false; !told; {
		select {
		case err := <-done:
			return ended(rt.Log, err)
		case s := <-signals:
			if s == syscall.SIGHUP {
				asked.ask()
				continue
			}
			rt.Log.Info("stopping", "signal", s.String(), "drain_for", section.DrainFor)
			told = true
		}
	}
	rt.Health.SetDraining() // red first, then no new work
	stop()
	patience := time.NewTimer(section.DrainFor + stopGrace)
	defer patience.Stop()
	for {
		select {
		case err := <-done:
			return ended(rt.Log, err)
		case s := <-signals:
			if s != syscall.SIGHUP { // too late for that
				return ExitInterrupt, fmt.Errorf("ended at once by a second signal (%s)", s)
			}
		case <-patience.C:
			return ExitFailed, fmt.Errorf("did not stop within %s of the signal; given up", section.DrainFor+stopGrace)
		}
	}
}

func ended(log *slog.Logger, err error) (int, error) {
	if err != nil {
		return ExitFailed, err
	}
	log.Info("stopped")
	return ExitOK, nil
}
