package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

// letterPage is the letters that one call lists.
const letterPage = 200

func (p *program) deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Messages that could not become orders: list, show, replay, discard",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.listLettersCommand(), p.showLetterCommand(), p.replayLettersCommand(), p.discardLettersCommand())
	return cmd
}

// everyLetter reads the list page by page, to its end as it is now.
func everyLetter(ctx context.Context, api *cli.API) (all []cli.DeadLetter, waiting int, err error) {
	for after := int64(0); ; {
		page, more, err := api.DeadLetters(ctx, after, letterPage)
		if err != nil {
			return nil, 0, fmt.Errorf("listing dead letters: %w", err)
		}
		all = append(all, page...)
		if len(page) < letterPage {
			return all, more, nil
		}
		after = page[len(page)-1].ID
	}
}

func (p *program) listLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the letters that nobody has settled",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			letters, waiting, err := everyLetter(cmd.Context(), api)
			if err != nil {
				return err
			}
			if p.json {
				return cli.WriteJSON(p.stdout, letters)
			}
			return cli.WriteDeadLetters(p.stdout, letters, waiting)
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) showLetterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show LETTER",
		Short: "Show one letter whole, and what it stands for",
		Args:  exactly(1, "name one letter by its number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(args)
			if err != nil {
				return err
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			letter, err := api.DeadLetter(cmd.Context(), ids[0])
			if err != nil {
				return fmt.Errorf("reading letter %d: %w", ids[0], err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, letter)
			}
			return cli.WriteDeadLetter(p.stdout, letter)
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) replayLettersCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "replay LETTER...",
		Short: "Let the consumer try letters again",
		Long: "Let the consumer try letters again, by the path of every message: ticket, CONFIRM, one transaction.\n" +
			"One that is dead again comes back under its number with the new reason. Repeating it is harmless.",
		Example: "  headgate dead-letters replay 12 13\n  headgate dead-letters replay --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage("name letters by their numbers, or --all; see `%s --help`", cmd.CommandPath())
			}
			ids, err := letterIDs(args)
			if err != nil {
				return err
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			if all {
				letters, _, err := everyLetter(cmd.Context(), api)
				if err != nil {
					return err
				}
				for _, l := range letters {
					ids = append(ids, l.ID)
				}
			}
			return p.settleLetters(cmd.Context(), api, "replay", ids)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every letter of the list")
	return cmd
}

func (p *program) discardLettersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "discard LETTER...",
		Short: "Drop letters, and give their units back",
		Long: "Drop letters for good. The order that a letter's ticket proves is written as rejected, and its units go\n" +
			"back on sale, unless the ledger has an order of this id: then only the letter goes. Repeating it is harmless.",
		Example: "  headgate dead-letters discard 12",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := letterIDs(args)
			if err != nil {
				return err
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			return p.settleLetters(cmd.Context(), api, "discard", ids)
		},
	}
}

// settleLetters stops at the first letter that fails: those before it are settled.
func (p *program) settleLetters(ctx context.Context, api *cli.API, action string, ids []int64) error {
	words := map[string]string{
		"replayed": "replayed: the consumer tries it again", "rejected": "discarded: its order is rejected, its units go back",
		"dropped": "discarded: no units go back", "settled": "was replayed or discarded before",
	}
	for _, id := range ids {
		result, err := api.SettleDeadLetter(ctx, id, action)
		if err != nil {
			return fmt.Errorf("letter %d: %w", id, err)
		}
		word := words[result]
		if word == "" {
			word = result
		}
		fmt.Fprintf(p.stdout, "letter %d %s\n", id, word)
	}
	return nil
}

func letterIDs(args []string) ([]int64, error) { return numbers(args, "letter", "dead-letters list") }

// numbers reads the numbers by which a list of things, which a command prints, names them.
func numbers(args []string, thing, list string) ([]int64, error) {
	ids := make([]int64, 0, len(args))
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usage("%q is no %s's number; `headgate %s` has them", arg, thing, list)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
