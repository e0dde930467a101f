package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) refundsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "refunds",
		Short: "Money that came too late and goes back: list, retry, settle",
		Long: "Money that came for an order which no longer waited for it goes back by itself: the consumer asks the payment\n" +
			"provider, again and again while there is no answer. Only what the provider refuses waits for an operator (parked).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.listRefundsCommand(), p.retryRefundsCommand(), p.settleRefundCommand())
	return cmd
}

func (p *program) listRefundsCommand() *cobra.Command {
	var state string
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the refunds that the provider refuses, or those in another state",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case all && cmd.Flags().Changed("state"):
				return usage("--all: does not go with --state")
			case !slices.Contains([]string{cli.RefundDue, "done", cli.RefundParked}, state):
				return usage("--state: must be due, done or parked, is %q", state)
			case all:
				state = ""
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			refunds, err := api.Refunds(cmd.Context(), state)
			if err != nil {
				return fmt.Errorf("listing refunds: %w", err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, refunds)
			}
			return cli.WriteRefunds(p.stdout, refunds)
		},
	}
	cmd.Flags().StringVar(&state, "state", cli.RefundParked, "due (asked for), done, or parked (refused)")
	cmd.Flags().BoolVar(&all, "all", false, "in every state")
	return p.jsonFlag(cmd)
}

func (p *program) retryRefundsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "retry REFUND...",
		Short: "Have refunds that the provider refused asked for again",
		Long: "Have refunds that the provider refused asked for again, once what stood against them is mended (the shop's\n" +
			"account there was empty, a permission was missing). Repeating it is harmless: the provider knows a refund by\n" +
			"its id. What it refuses again is parked again.",
		Example: "  headgate refunds retry 12 13\n  headgate refunds retry --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage("name refunds by their numbers, or --all; see `%s --help`", cmd.CommandPath())
			}
			ids, err := refundIDs(args)
			if err != nil {
				return err
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			if all {
				parked, err := api.Refunds(cmd.Context(), cli.RefundParked)
				if err != nil {
					return fmt.Errorf("listing refunds: %w", err)
				}
				for _, r := range parked {
					ids = append(ids, r.ID)
				}
				if len(ids) == 0 {
					fmt.Fprintln(p.stdout, "no refund is parked")
				}
			}
			return p.changeRefunds(cmd.Context(), ids, "the consumer asks for it again", api.RetryRefund)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every one that is parked")
	return cmd
}

func (p *program) settleRefundCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "settle REFUND... --note TEXT",
		Short: "Note that the money of refused refunds was given back by another way",
		Long: "Note that the money of refused refunds was given back by another way: they are done, and cannot be retried.\n" +
			"One that the provider is asked for meanwhile is left as it is, and the command fails.",
		Example: "  headgate refunds settle 12 --note \"transfer 4711 of Friday\"",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := refundIDs(args)
			if err != nil {
				return err
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			return p.changeRefunds(cmd.Context(), ids, "settled by hand", func(ctx context.Context, id int64) (cli.Refund, bool, error) {
				r, changed, err := api.SettleRefund(ctx, id, note)
				if err == nil && !changed && r.State == cli.RefundDue {
					err = errors.New("nothing was noted: it is not parked but due, so that the provider is asked for it (somebody may have retried it), and the buyer may get the money twice")
				}
				return r, changed, err
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "how it was given back, such as the number of the transfer")
	must(cmd.MarkFlagRequired("note"))
	return cmd
}

// changeRefunds stops at the first refund that fails: those before it are changed.
func (p *program) changeRefunds(ctx context.Context, ids []int64, done string, change func(context.Context, int64) (cli.Refund, bool, error)) error {
	for _, id := range ids {
		r, changed, err := change(ctx, id)
		if err != nil {
			return fmt.Errorf("refund %d: %w", id, err)
		}
		word := done
		if !changed {
			word = "not parked, left as it is: " + r.State
		}
		fmt.Fprintf(p.stdout, "refund %d of order %s (%d %s): %s\n", id, r.OrderID, r.AmountMinor, r.Currency, word)
	}
	return nil
}

func refundIDs(args []string) ([]int64, error) { return numbers(args, "refund", "refunds list") }
