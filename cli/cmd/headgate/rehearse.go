package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/cli/rehearse"
)

// exitUnreachable is what `rehearse` ends with where there was nothing to judge, as `audit` does.
const exitUnreachable = 3

// rehearsal holds the flags of `rehearse`.
type rehearsal struct {
	*program
	spec    rehearse.Spec
	rate    float64
	faults  []string
	edge    string
	admins  []string
	cluster string
	start   bool
	dry     bool
	quiet   bool
}

func (p *program) rehearseCommand() *cobra.Command {
	r := &rehearsal{program: p, spec: rehearse.DefaultSpec()}
	cmd := &cobra.Command{
		Use:   "rehearse",
		Short: "Let a drawn crowd press on a running deployment, break it meanwhile, and judge what came of it",
		Long: "Open a sale of its own, let a crowd that is drawn from the seed press on it, break parts of a cluster\n" +
			"meanwhile if asked to, wait until everything has settled, and judge from outside: from the answers\n" +
			"received, the ledger's rows, the counter's holds and the audit. The same seed draws the same crowd and the\n" +
			"same faults, which the plan's digest shows. Needs the sandbox as payment provider.\n\n" +
			"It presses on the deployment of --config, or with --cluster on a cluster that runs (`cluster up`), whose\n" +
			"parts it can break; --start starts that cluster first and stops it at the end.\n\n" +
			"Exit code 0: clean. 1: violated. 2: not settled, or a fault could not be carried out. 3: nothing to judge:\n" +
			"not reachable, or wrong flags.",
		Example: "  headgate rehearse --buyers 10000 --stock 500\n" +
			"  headgate rehearse --cluster data/cluster --buyers 100000 --stock 2000 --seed 7 --faults all\n" +
			"  headgate rehearse --cluster data/cluster --start --faults kill,pause --seed 8 --json > report.json",
		// 1 and 2 would be verdicts.
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return &exitError{exitUnreachable, err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := r.run(ctx, cmd); err != nil {
				return &exitError{exitUnreachable, err}
			}
			return nil
		},
	}
	r.flags(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUnreachable, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	return p.jsonFlag(cmd)
}

func (r *rehearsal) flags(cmd *cobra.Command) {
	flags, s := cmd.Flags(), &r.spec
	flags.Uint64Var(&s.Seed, "seed", s.Seed, "what crowd and faults are drawn from")
	flags.IntVar(&s.Buyers, "buyers", s.Buyers, "buyers in the crowd")
	flags.IntVar(&s.Stock, "stock", s.Stock, "units for sale")
	flags.Float64Var(&r.rate, "rate", 1000, "buyers that arrive a second, on average; the spike has several times that")
	flags.DurationVar(&s.Duration, "duration", 0, "from the first planned press to the last (default: buyers / rate)")
	flags.Float64Var(&s.Fresh, "fresh", s.Fresh, "share of buyers who come after the opening, with tokens never seen; the others come too early")
	flags.Float64Var(&s.Doubles, "doubles", s.Doubles, "share of buyers who press twice at the same instant")
	flags.Float64Var(&s.Bots, "bots", s.Bots, "share of buyers who hammer")
	flags.Float64Var(&s.Pay, "pay", s.Pay, "share of orders that are paid, in the sandbox")
	flags.Float64Var(&s.Cancel, "cancel", s.Cancel, "share of orders that are cancelled; the rest is abandoned and comes back after the deadline")
	flags.DurationVar(&s.PayWithin, "pay-within", s.PayWithin, "from an order to its deadline")
	flags.DurationVar(&s.HoldFor, "hold-for", s.HoldFor, "how long a hold waits for its confirmation (default: as the deployment says)")
	flags.DurationVar(&s.ProbeEvery, "probe-every", s.ProbeEvery, "between two probes, which buy in a second sale and show how long faults take to heal")
	flags.StringSliceVar(&r.faults, "faults", []string{"none"}, "none, all, or some of kill,pause,restart,cut,alarm; needs --cluster")
	flags.IntVar(&s.Lanes, "lanes", s.Lanes, "faults that may be at work at a time")
	flags.BoolVar(&s.SameShard, "same-shard", false, "with --lanes: also several voters of one shard at a time")
	flags.IntVar(&s.Connections, "connections", s.Connections, "connections to the edge at most")
	flags.DurationVar(&s.Timeout, "timeout", s.Timeout, "how long a buyer waits for an answer")
	flags.DurationVar(&s.SettleFor, "settle-for", s.SettleFor, "how long to wait at the end until everything has settled")
	flags.StringVar(&r.edge, "edge", "", "`address` to press on, such as http://127.0.0.1:8000 (default: as config or cluster say)")
	flags.StringSliceVar(&r.admins, "admin", nil, "admin `address` of an edge, host:port, whose counts are reported (default: as config or cluster say)")
	flags.StringVar(&r.cluster, "cluster", "", "`folder` of a running cluster (default: none)")
	flags.BoolVar(&r.start, "start", false, "start the cluster first (`cluster up`, found beside this program) and stop it at the end")
	flags.BoolVar(&r.dry, "dry-run", false, "print what would be done, press nothing")
	flags.BoolVar(&r.quiet, "quiet", false, "no progress lines")
}

func (r *rehearsal) run(ctx context.Context, cmd *cobra.Command) (err error) {
	if err := r.complete(cmd); err != nil {
		return err
	}
	if r.start {
		down, err := r.up(ctx)
		if err != nil {
			return err
		}
		defer down()
	}
	options, err := r.options(ctx)
	if err != nil {
		return err
	}
	if options.Control != nil {
		defer options.Control.Close()
	}
	if r.dry {
		return rehearse.WritePlan(r.stdout, rehearse.Draw(r.spec, options.Members))
	}
	report, err := rehearse.Run(ctx, options)
	if err != nil {
		return err
	}
	r.code = report.Outcome.ExitCode()
	if r.json {
		return cli.WriteJSON(r.stdout, report)
	}
	return rehearse.WriteText(r.stdout, report)
}

// complete turns flags into a spec, and checks them before anything is started.
func (r *rehearsal) complete(cmd *cobra.Command) error {
	if r.spec.Duration == 0 {
		if r.rate <= 0 {
			return fmt.Errorf("rate: must be more than 0, is %g", r.rate)
		}
		r.spec.Duration = rehearse.DurationFor(r.spec.Buyers, r.rate)
	}
	switch {
	case len(r.faults) == 1 && r.faults[0] == "none":
	case len(r.faults) == 1 && r.faults[0] == "all":
		r.spec.Faults = rehearse.FaultKinds()
	default:
		for _, kind := range r.faults {
			r.spec.Faults = append(r.spec.Faults, rehearse.FaultKind(kind))
		}
	}
	if err := r.spec.Check(); err != nil {
		return err
	}
	if r.cluster == "" && (len(r.spec.Faults) > 0 || r.start) {
		return fmt.Errorf("faults and start: only a cluster can be broken or started: name its folder with --cluster; see `%s --help`", cmd.CommandPath())
	}
	return nil
}

// options find the deployment.
func (r *rehearsal) options(ctx context.Context) (rehearse.Options, error) {
	o := rehearse.Options{Spec: r.spec, Say: r.say(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if r.cluster != "" {
		o.Control = rehearse.OpenControl(r.cluster)
		cluster, err := o.Control.Cluster(ctx)
		if err != nil {
			return o, err
		}
		o.Edge, o.Members = cluster.Edge, cluster.Breakable()
		for _, m := range cluster.Members {
			if m.Kind == "interceptor" && m.Admin != "" {
				o.Admins = append(o.Admins, m.Admin)
			}
		}
		if r.configFile == "" {
			r.configFile = cluster.OperatorConfig
		}
		if err := loadEnv(cluster.EnvFile); err != nil {
			return o, err
		}
	}
	var err error
	if o.Config, err = r.load(); err != nil {
		return o, err
	}
	if o.Edge == "" {
		o.Edge = o.Config.APIAddress()
		o.Admins = []string{"http://" + o.Config.AdminAddress()}
	}
	if r.edge != "" {
		o.Edge = r.edge
	}
	if len(r.admins) > 0 {
		o.Admins = nil
		for _, admin := range r.admins {
			o.Admins = append(o.Admins, "http://"+admin)
		}
	}
	return o, nil
}

// loadEnv sets the secrets that a cluster's operator config takes from the environment: KEY=value lines.
func loadEnv(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the cluster's secrets: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !found {
			return fmt.Errorf("the cluster's secrets: %s:%d: want KEY=value", path, number)
		}
		if err := os.Setenv(name, strings.Trim(value, `"'`)); err != nil {
			return fmt.Errorf("the cluster's secrets: %s: %w", path, err)
		}
	}
	return lines.Err()
}

// say writes progress to standard error: over one line of a terminal, else every fifth second a line.
func (r *rehearsal) say() func(string) {
	if r.quiet {
		return nil
	}
	file, ok := r.stderr.(*os.File)
	terminal := false
	if ok {
		info, err := file.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	var last time.Time
	return func(line string) {
		switch running := strings.HasPrefix(line, " "); {
		case terminal && running:
			fmt.Fprintf(r.stderr, "\r\x1b[K%s", line)
		case terminal:
			fmt.Fprintf(r.stderr, "\r\x1b[K%s\n", line)
		case !running || time.Since(last) >= 5*time.Second:
			if running {
				last = time.Now()
			}
			fmt.Fprintln(r.stderr, line)
		}
	}
}

// clusterDownWithin bounds the end of a cluster that this command started.
const clusterDownWithin = 2 * time.Minute

// up runs `cluster up` and gives what takes the cluster down again.
func (r *rehearsal) up(ctx context.Context) (down func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(filepath.Dir(self), "cluster")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("start: %w (`make build` makes it)", err)
	}
	cluster := func(ctx context.Context, verb string) error {
		cmd := exec.CommandContext(ctx, program, verb, "--folder", r.cluster)
		cmd.Stdout, cmd.Stderr = r.stderr, r.stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("`cluster %s --folder %s`: %w", verb, r.cluster, err)
		}
		return nil
	}
	down = func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterDownWithin)
		defer cancel()
		if err := cluster(end, "down"); err != nil {
			fmt.Fprintf(r.stderr, "headgate: %v\n", err)
		}
	}
	if err := cluster(ctx, "up"); err != nil {
		down()
		return nil, errors.Join(err, ctx.Err())
	}
	return down, nil
}
