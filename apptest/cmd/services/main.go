//go:build unix

// Services starts private instances of the services that tests need, sets the variables that tell tests
// where they are, runs a command, and stops everything again:
//
//	services [--only rabbitmq,mariadb,redis,nginx,chromium,wrk,jmeter,nftables,promtool] [--no-install] -- COMMAND [ARGUMENT ...]
//
// Its exit code is the command's; 2 for wrong usage, 128 + the signal's number when the command died of
// a signal, 130 or 143 when it was interrupted before the command began. A service that cannot be had is reported loudly and its variable left unset.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/services"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("services", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "comma-separated names of the services to start, of: "+strings.Join(services.Names(), ","))
	noInstall := flags.Bool("no-install", false, "do not install absent packages")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: services [--only NAMES] [--no-install] -- COMMAND [ARGUMENT ...]") //nolint:errcheck // usage
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	options := services.Options{NoInstall: *noInstall, Output: stderr}
	if *only != "" {
		options.Only = strings.Split(*only, ",")
	}
	if err := services.CheckNames(options.Only); err != nil {
		fmt.Fprintln(stderr, "services: --only:", err) //nolint:errcheck // usage
		return 2
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	defer watchParent(signals)()
	set, code := start(options, signals, stderr)
	if set == nil {
		return code
	}
	defer func() {
		if err := set.Stop(); err != nil {
			fmt.Fprintln(stderr, "services:", err) //nolint:errcheck // last words
		}
	}()
	cmd := exec.Command(flags.Arg(0), flags.Args()[1:]...) //nolint:gosec // running it is our purpose
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Env = append(os.Environ(), set.Env()...)
	return runCommand(cmd, signals, stderr)
}

// start gives nil and the exit code when it failed or was interrupted.
func start(options services.Options, signals <-chan os.Signal, stderr io.Writer) (*services.Set, int) {
	ctx, cancel := context.WithCancelCause(context.Background())
	started := make(chan struct{})
	watched := make(chan int, 1)
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("%s", s))
			watched <- signalCode(s)
		case <-started:
			watched <- 1
		}
	}()
	set, err := services.Start(ctx, options)
	close(started)
	code := <-watched
	cancel(nil)
	if err != nil {
		fmt.Fprintln(stderr, "services:", err) //nolint:errcheck // last words
		return nil, code
	}
	if code != 1 { // interrupted when all had started
		_ = set.Stop()
		return nil, code
	}
	return set, 0
}

// runCommand passes signals on to the command until it ends, and gives its exit code.
func runCommand(cmd *exec.Cmd, signals <-chan os.Signal, stderr io.Writer) int {
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "services:", err) //nolint:errcheck // last words
		return 127
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended just now
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
					return signalCode(status.Signal())
				}
				return exit.ExitCode()
			}
			if err != nil {
				fmt.Fprintln(stderr, "services:", err) //nolint:errcheck // last words
				return 1
			}
			return 0
		}
	}
}

// watchParent stands in for the signal that "go run" does not pass on: when that was our parent and dies,
// we end as if by SIGTERM. Other parents may go, as a shell does.
func watchParent(signals chan<- os.Signal) (stop func()) {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if os.Getppid() != parent {
				signals <- syscall.SIGTERM // has room, or somebody reads
				return
			}
		}
	}()
	return func() { close(done) }
}

func signalCode(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return 1
}
