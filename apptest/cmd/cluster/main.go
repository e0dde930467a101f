//go:build linux

// Cluster runs Headgate as separate processes on this machine, from the config files in deploy/local:
//
//	cluster up [--shift N]                 start it; leaves a supervisor running. While it runs: start what is new
//	cluster status [--json]                who is alive and leads, shares of the ring, queues, audit
//	cluster down [--wipe]                  end everything; --wipe also removes the folder
//	cluster add NAME                       one more interceptor-4, backend-3, consumer-3, or shard-s3 of the counter
//	cluster roll [--from DIR] [KIND ...]   restart members in turn, with the programs of another folder
//	cluster kill|stop|start|restart|reload|pause|resume|cut|heal MEMBER
//	cluster alarm|calm rabbitmq            the broker's memory alarm
//
// The folder of its data is ./data/cluster, or --folder, or HEADGATE_CLUSTER. Exit codes: 0 done, 1 failed,
// 2 wrong usage; of status also 3: something is not as it should be.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/cluster"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// program is what the commands share.
type program struct {
	stdout, stderr io.Writer
	flags          *flag.FlagSet

	folder, source, bin string
	shift, with         int
	noInstall           bool
	wipe, json          bool
	wait                time.Duration
	from                string
}

const usageText = `usage: cluster COMMAND [FLAGS] [MEMBER]
commands: up status down; add NAME; roll [KIND ...]; of one member: kill stop start restart reload pause resume cut heal; of rabbitmq: alarm calm
`

var actions = []string{"kill", "stop", "start", "restart", "reload", "pause", "resume", "cut", "heal", "alarm", "calm"}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr, flags: flag.NewFlagSet("cluster", flag.ContinueOnError)}
	p.declare()
	if len(args) == 0 {
		p.flags.Usage()
		return exitUsage
	}
	command, rest := args[0], args[1:]
	// Flags may stand before or behind the member's name.
	var names []string
	for {
		if err := p.flags.Parse(rest); err != nil {
			return exitUsage
		}
		if p.flags.NArg() == 0 {
			break
		}
		names, rest = append(names, p.flags.Arg(0)), p.flags.Args()[1:]
	}
	var err error
	isAction := slices.Contains(actions, command)
	switch {
	case isAction && len(names) == 1:
		err = p.act(ctx, command, names[0])
	case command == "add" && len(names) == 1:
		err = p.add(ctx, names[0])
	case command == "roll":
		err = p.roll(ctx, names)
	case isAction || command == "add" || len(names) > 0:
		fmt.Fprintf(stderr, "cluster: %s: want %s\n", command, map[bool]string{true: "one name", false: "no name"}[isAction || command == "add"])
		return exitUsage
	case command == "up":
		err = p.up(ctx)
	case command == "supervise":
		err = p.supervise(ctx)
	case command == "down":
		err = p.down(ctx)
	case command == "status":
		return p.status(ctx)
	default:
		p.flags.Usage()
		return exitUsage
	}
	if err != nil {
		fmt.Fprintln(stderr, "cluster:", err)
		return exitFailed
	}
	return 0
}

func (p *program) declare() {
	f := p.flags
	f.SetOutput(p.stderr)
	f.Usage = func() { fmt.Fprint(p.stderr, usageText); f.PrintDefaults() }
	own, err := os.Executable()
	if err != nil {
		own = os.Args[0]
	}
	bin := filepath.Dir(own)
	f.StringVar(&p.folder, "folder", cmp.Or(os.Getenv("HEADGATE_CLUSTER"), filepath.Join("data", "cluster")), "data of the cluster (HEADGATE_CLUSTER)")
	f.StringVar(&p.source, "source", filepath.Join(bin, "..", "deploy", "local"), "folder with cluster.yaml and the config files")
	f.StringVar(&p.bin, "bin", bin, "up: folder of Headgate's programs")
	f.IntVar(&p.shift, "shift", 0, "up: all ports are so much higher than in the config files, of which a copy is used")
	f.IntVar(&p.with, "with", 0, "up: end the cluster when this process ends")
	f.BoolVar(&p.noInstall, "no-install", false, "up: do not install absent packages")
	f.BoolVar(&p.wipe, "wipe", false, "down: remove the folder, too")
	f.BoolVar(&p.json, "json", false, "status: as JSON")
	f.DurationVar(&p.wait, "wait", time.Minute, "how long an action may take")
	f.StringVar(&p.from, "from", "", "restart, roll: take the program from this folder, of another version, say")
}

// opened is the folder of a cluster that was up before.
func (p *program) opened() (cluster.Folder, error) {
	f, err := cluster.OpenFolder(p.folder)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("there is no cluster in %s: make cluster", p.folder)
	}
	return f, err
}

func (p *program) act(ctx context.Context, action, member string) error {
	f, err := p.opened()
	if err != nil {
		return err
	}
	query := map[string][]string{"wait": {p.wait.String()}}
	if action == "restart" && p.from != "" {
		path, err := filepath.Abs(p.from)
		if err != nil {
			return err
		}
		query["bin"] = []string{path}
	}
	s, err := cluster.Dial(f).Do(ctx, member, action, query)
	if errors.Is(err, cluster.ErrNoSupervisor) {
		return errors.New("the cluster is not running: make cluster")
	}
	if err != nil {
		return err
	}
	cut, note := "", ""
	if s.Cut {
		cut = ", cut off"
	}
	if s.Note != "" {
		note = " (" + s.Note + ")"
	}
	fmt.Fprintf(p.stdout, "%s is %s%s%s\n", s.Name, s.State, cut, note)
	return nil
}

func (p *program) down(ctx context.Context) error {
	f, err := p.opened()
	if err != nil {
		return err
	}
	began := time.Now()
	err = cluster.Dial(f).Down(ctx)
	switch {
	case errors.Is(err, cluster.ErrNoSupervisor):
		left, unread := f.Left()
		if err = errors.Join(unread, cluster.ClearLeft(ctx, f, p.say)); err == nil && len(left) == 0 {
			fmt.Fprintln(p.stdout, "nothing was running")
		}
	case err == nil:
		if err = f.AwaitEnd(ctx); err == nil {
			fmt.Fprintf(p.stdout, "the cluster is down, in %.1f s; its data is in %s\n", time.Since(began).Seconds(), f.Path)
		}
	}
	if err != nil || !p.wipe {
		return err
	}
	if err := f.Wipe(); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s is removed\n", f.Path)
	return nil
}

func (p *program) say(format string, args ...any) {
	fmt.Fprintln(p.stdout, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}
