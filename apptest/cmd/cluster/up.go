//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/cluster"
	"headgate.example/apptest/services"
)

// needed are the programs of others that a cluster runs on; nftables only for cuts.
var needed = []string{services.RabbitMQ, services.MariaDB, services.Nginx, services.Nftables}

// The supervisor tells `up` on file descriptor 3 how the start goes: lines for people, and at the end one
// of these.
const (
	progressFD = 3
	lineReady  = "ready"
	lineFailed = "failed "
)

func (p *program) up(ctx context.Context) error {
	began := time.Now()
	f, err := cluster.MakeFolder(p.folder)
	if err != nil {
		return err
	}
	client := cluster.Dial(f)
	if _, err := client.State(ctx); err == nil {
		return p.sync(ctx, client)
	}
	source, err := f.Shifted(p.source, p.shift)
	if err != nil {
		return err
	}
	if p.bin, err = filepath.Abs(p.bin); err != nil {
		return err
	}
	if err := p.install(ctx); err != nil {
		return err
	}
	if err := p.launch(ctx, f, source); err != nil {
		return err
	}
	st, err := client.State(ctx)
	if err != nil {
		return err
	}
	if err := cluster.Seed(ctx, f, st); err != nil {
		return fmt.Errorf("the cluster is up, but %w", err)
	}
	return p.announce(f, st, time.Since(began))
}

// sync starts what is new in cluster.yaml.
func (p *program) sync(ctx context.Context, client *cluster.Client) error {
	started, err := client.Sync(ctx)
	if err != nil {
		return err
	}
	if len(started) == 0 {
		p.say("the cluster is up already, and %s names no new member; `cluster start MEMBER` starts one that ended", cluster.LayoutFile)
		return nil
	}
	p.say("started %s: the others know of it when their config files name it and they were restarted", strings.Join(started, ", "))
	return nil
}

func (p *program) install(ctx context.Context) error {
	find := services.Find
	if p.noInstall {
		find = services.FindInstalled
	}
	_, missing, err := find(ctx, needed, p.stderr)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range needed {
		why, absent := missing[name]
		switch {
		case absent && name == services.Nftables:
			p.say("nobody can be cut off: nft: %s", why)
		case absent:
			errs = append(errs, fmt.Errorf("%s: %s (on Debian as root it is installed by itself)", name, why))
		}
	}
	return errors.Join(errs...)
}

// launch starts the supervisor and waits until it says that all is ready. An interrupt ends it.
func (p *program) launch(ctx context.Context, f cluster.Folder, source string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(f.Logs(), "supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the supervisor has it
	progress, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer progress.Close()                                                                                                        //nolint:errcheck // only read
	cmd := exec.Command(own, "supervise", "--folder", f.Path, "--source", source, "--bin", p.bin, "--with", strconv.Itoa(p.with)) //nolint:gosec // ourselves
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this terminal
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var failed []string
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		line := lines.Text()
		rest, ended := strings.CutPrefix(line, lineFailed)
		switch {
		case line == lineReady:
			return cmd.Process.Release()
		case ended || len(failed) > 0:
			failed = append(failed, rest)
		default:
			fmt.Fprintln(p.stdout, line)
		}
	}
	_ = cmd.Wait() // it said why
	if ctx.Err() != nil {
		return errors.New("interrupted: everything that was started is stopped")
	}
	if len(failed) == 0 {
		failed = []string{"the supervisor ended without a word: see " + log.Name()}
	}
	return fmt.Errorf("%s\n(everything that was started is stopped)", strings.Join(failed, "\n"))
}

// supervise is what `up` leaves running.
func (p *program) supervise(ctx context.Context) error {
	progress := os.NewFile(progressFD, "progress")
	say := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) } //nolint:errcheck // `up` may be gone
	end := func(err error) error {
		if err == nil {
			say(lineReady)
		} else {
			say(lineFailed+"%v", err)
		}
		return progress.Close()
	}
	f, err := cluster.OpenFolder(p.folder)
	if err != nil {
		return errors.Join(err, end(err))
	}
	if p.with > 0 {
		var cancel context.CancelFunc
		ctx, cancel = cluster.WithProcess(ctx, p.with)
		defer cancel()
	}
	tools := make(map[string]string)
	for _, name := range needed {
		if path, err := services.LookUp(name); err == nil {
			tools[name] = path
		}
	}
	s, err := cluster.Open(ctx, cluster.Options{Folder: f, Source: p.source, Bin: p.bin, Tools: tools, Log: slog.New(slog.NewTextHandler(p.stdout, nil))}, say)
	if err != nil {
		return errors.Join(err, end(err))
	}
	if err := s.Start(ctx, say); err != nil { // it has stopped what it started
		return errors.Join(err, end(err))
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	if err := f.AwaitSocket(ctx); err != nil {
		return errors.Join(err, end(err), s.Close(context.WithoutCancel(ctx)), <-served)
	}
	if err := end(nil); err != nil {
		return err
	}
	return errors.Join(<-served, s.Close(context.WithoutCancel(ctx)))
}

// announce tells where everything is.
func (p *program) announce(f cluster.Folder, st cluster.State, took time.Duration) error {
	accounts, err := os.ReadFile(f.Accounts())
	if err != nil {
		return err
	}
	p.say("\nHeadgate runs as %d programs, up in %.1f s.", len(st.Members), took.Seconds())
	p.say("  edge       %s (the shop page; nginx)", st.Edge)
	for line := range strings.Lines(string(accounts)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] != "#" {
			p.say("  account    %s, password %s", fields[0], fields[1])
		}
	}
	p.say("  sales      1 is open, 2 opens ten minutes after the first start")
	p.say("  operator   set -a && . %s && export HEADGATE_CONFIG=%s", st.EnvFile, st.OperatorConfig)
	p.say("             bin/headgate audit")
	p.say("  logs       %s", st.Logs)
	p.say("  then       make cluster-status, make cluster-down")
	return nil
}
