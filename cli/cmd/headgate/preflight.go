package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/cli/preflight"
)

func (p *program) preflightCommand() *cobra.Command {
	var o preflight.Options
	var report string
	cmd := &cobra.Command{
		Use:   "preflight SALE",
		Short: "Before a sale opens: is everything there, agreed, empty and fast enough?",
		Long: "Look at a running deployment before a sale opens, one line for each question: every program ready, configured\n" +
			"alike and of one version; every shard with all its voters and one leader; clocks within 250 ms; database and\n" +
			"broker reachable and empty enough; the sale known to ledger, counter and every edge; ledger and counter agreed;\n" +
			"what is asked for measured. ok; warn: it can open, but look at this; FAIL: mend this first. Nothing is changed.\n\n" +
			"The admin ports are those under `admins` in the config, or --admin.\n\n" +
			"Exit code 0: nothing fails. 1: something does. 3: it could not be found out (a wrong config or report, or interrupted).",
		Example: "  headgate preflight kettle --rate 20000 --report rehearsal.json",
		Args:    exactly(1, "name one sale"),
		RunE: func(cmd *cobra.Command, args []string) error {
			unknown := func(err error) error { return &exitError{preflight.ExitUnknown, err} }
			o.Sale = args[0]
			if o.Rate < 0 {
				return usage("--rate: must be 0 or more, is %v", o.Rate)
			}
			cfg, err := p.load()
			if err != nil {
				return unknown(err)
			}
			if report != "" {
				text, err := os.ReadFile(report)
				if err != nil {
					return unknown(fmt.Errorf("--report: %w", err))
				}
				if o.Measured, err = preflight.ReadMeasured(text); err != nil {
					return unknown(fmt.Errorf("--report: %s: %w", report, err))
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			found := preflight.Run(ctx, cfg, o)
			if err := context.Cause(ctx); err != nil {
				return unknown(fmt.Errorf("interrupted: %w", err))
			}
			p.code = found.ExitCode()
			if p.json {
				err = cli.WriteJSON(p.stdout, found)
			} else {
				err = preflight.Write(p.stdout, &found)
			}
			if err != nil {
				return unknown(fmt.Errorf("writing the report: %w", err))
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&o.Admins, "admin", nil, "`host:port` of a program's admin port; of all of them (default: `admins` of the config)")
	cmd.Flags().Float64Var(&o.Rate, "rate", 0, "decisions a second that are expected")
	cmd.Flags().StringVar(&report, "report", "", "what a rehearsal measured: `file` with the output of headgate rehearse --json")
	cmd.Flags().DurationVar(&o.Settle, "settle", 5*time.Second, "look so long again while ledger and counter have not settled")
	return p.jsonFlag(cmd)
}
