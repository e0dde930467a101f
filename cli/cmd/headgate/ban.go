package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) banCommand() *cobra.Command {
	var b cli.Ban
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:     "ban USER|ADDRESS|NETWORK",
		Short:   "Keep a user or an address away, at every edge within a moment",
		Example: "  headgate ban u000042 --reason \"resells\" --for 24h\n  headgate ban 192.0.2.0/24",
		Args:    exactly(1, "name one user id, address or network"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			b.Value = args[0]
			if b.Kind == "" {
				b.Kind = cli.BanKind(b.Value)
			}
			if lasts < 0 {
				return usage("--for: must not be negative")
			}
			if lasts > 0 {
				b.Until = time.Now().Add(lasts).UnixMilli()
			}
			if err := api.Ban(cmd.Context(), b); err != nil {
				return fmt.Errorf("banning %s %s: %w", b.Kind, b.Value, err)
			}
			fmt.Fprintf(p.stdout, "banned: %s %s\n", b.Kind, b.Value)
			return nil
		},
	}
	cmd.Flags().StringVar(&b.Kind, "kind", "", "user or address (default: by the form of the value)")
	cmd.Flags().StringVar(&b.Reason, "reason", "", "why, for other operators")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long, such as 24h (default: for good)")
	return cmd
}

func (p *program) unbanCommand() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "unban USER|ADDRESS|NETWORK",
		Short: "Take a ban back, and those that edges made of it by themselves",
		Args:  exactly(1, "name one user id, address or network"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			if kind == "" {
				kind = cli.BanKind(args[0])
			}
			if err := api.Unban(cmd.Context(), kind, args[0]); err != nil {
				return fmt.Errorf("taking back the ban of %s %s: %w", kind, args[0], err)
			}
			fmt.Fprintf(p.stdout, "not banned: %s %s\n", kind, args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "user or address (default: by the form of the value)")
	return cmd
}

func (p *program) bansCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bans",
		Short: "List the bans that operators set (see `headgate edge bans` for those of the edges)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			bans, err := api.Bans(cmd.Context())
			if err != nil {
				return fmt.Errorf("listing bans: %w", err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, bans)
			}
			return cli.WriteBans(p.stdout, bans)
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) signoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "signout USER",
		Short: "Void every token of a user, at every edge within a moment",
		Long: "Void every token of a user that was issued until now, at every edge within a moment. It keeps nobody\n" +
			"away: the user can sign in again. To keep him away, ban him.",
		Args: exactly(1, "name one user id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			if err := api.SignOut(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("signing out %s: %w", args[0], err)
			}
			fmt.Fprintf(p.stdout, "signed out everywhere: %s\n", args[0])
			return nil
		},
	}
}

// exactly checks the number of arguments and says what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%s; see `%s --help`", what, cmd.CommandPath())
		}
		return nil
	}
}
