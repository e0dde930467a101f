package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/backend/audit"
	"headgate.example/backend/repair"
	"headgate.example/cli"
)

func (p *program) auditCommand() *cobra.Command {
	var sale string
	var wait time.Duration
	var fix, yes, payments bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Compare counter and ledger, sums and every order id",
		Long: "Compare counter and ledger of a running system: the sums that must balance, and every order id on\n" +
			"both sides. It reads counter, database and queue directly, and changes nothing.\n" +
			"RabbitMQ does not tell how many messages consumers hold (unacked: unknown, null in JSON); orders among\n" +
			"them are still counted, by their ids, as on their way.\n\n" +
			"With --repair it says how it would bring both into agreement after one of them lost data, and with\n" +
			"--yes it does so, logs each step, and audits: a counter, or one of its shards, is rebuilt from the ledger\n" +
			"and the messages that wait in it; the ledger from the counter's confirmed holds. What nothing that is left\n" +
			"decides is listed (?). It may be repeated. After a ledger was restored from an old backup add --payments, and\n" +
			"start the consumer after it: what buyers have paid since is then asked of the payment provider, before a\n" +
			"deadline cancels it.\n\n" +
			"Exit code 0: everything holds. 1: violated. 2: not settled yet (messages travel: ask again, or\n" +
			"use --wait). 3: counter, ledger or queue could not be reached, or the config or a flag is wrong.",
		Args: func(cmd *cobra.Command, args []string) error { return misused(cobra.NoArgs(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if yes && !fix {
				return misused(fmt.Errorf("--yes: belongs to --repair; see `%s --help`", cmd.CommandPath()))
			}
			if payments && !fix {
				return misused(fmt.Errorf("--payments: belongs to --repair; see `%s --help`", cmd.CommandPath()))
			}
			cfg, err := p.load()
			if err != nil {
				// 1 would say that the sums are violated.
				return &exitError{audit.Unreachable.ExitCode(), err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if fix {
				return p.repair(ctx, cfg.AuditSources(), repair.Options{Sale: sale, Apply: yes, Payments: payments}, wait)
			}
			report := cli.Audit(ctx, cfg.AuditSources(), sale, wait, slog.New(slog.NewTextHandler(io.Discard, nil)))
			p.code = report.Verdict.ExitCode()
			write := cli.WriteAudit
			if p.json {
				write = func(w io.Writer, r audit.Report) error { return cli.WriteJSON(w, r) }
			}
			if err := write(p.stdout, report); err != nil {
				return &exitError{audit.Unreachable.ExitCode(), fmt.Errorf("writing the report: %w", err)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&sale, "sale", "", "look at this sale only")
	cmd.Flags().DurationVar(&wait, "wait", 0, "while it has not settled, look again for so long")
	cmd.Flags().BoolVar(&fix, "repair", false, "say how to bring counter and ledger into agreement, and with --yes do it")
	cmd.Flags().BoolVar(&yes, "yes", false, "do what --repair says")
	cmd.Flags().BoolVar(&payments, "payments", false, "with --repair: ask the payment provider about every unpaid order")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misused(fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath()))
	})
	return p.jsonFlag(cmd)
}

// misused keeps a wrong call apart from a verdict: the usual exit codes would say violated, or ask again.
func misused(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{audit.Unreachable.ExitCode(), err}
}

func (p *program) repair(ctx context.Context, from cli.AuditSources, options repair.Options, wait time.Duration) error {
	done := cli.Repair(ctx, from, options, wait, slog.New(slog.NewTextHandler(p.stderr, nil)))
	p.code = done.ExitCode()
	write := cli.WriteRepair
	if p.json {
		write = func(w io.Writer, r cli.Repaired) error { return cli.WriteJSON(w, r) }
	}
	if err := write(p.stdout, done); err != nil {
		return &exitError{audit.Unreachable.ExitCode(), fmt.Errorf("writing the report: %w", err)}
	}
	return nil
}
