package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) accountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Accounts and their roles: create, grant, revoke, password, disable, enable, list",
		Long: "Make and change accounts in the ledger that the config names (`backend.database`). Whoever has the role admin\n" +
			"may use /api/admin; other roles are those of the edge's routes. People register without roles.\n\n" +
			"A token carries the roles of the moment of signing in. So every change voids the account's tokens, at every\n" +
			"edge within a moment, which needs the counter; who signs in again has what the account has now.\n\n" +
			"A password is never an argument: it is read from " + passwordVariable + ", else from the terminal without\n" +
			"showing it, else from the first line of standard input.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.createAccountCommand(), p.listAccountsCommand(), p.grantCommand(), p.revokeCommand(), p.accountPasswordCommand(),
		p.accountChange("disable NAME", "Let nobody sign in to an account any more, and void its tokens", (*cli.Accounts).Disable),
		p.accountChange("enable NAME", "Let people sign in to a disabled account again, with its password of before", (*cli.Accounts).Enable))
	return cmd
}

// accounts opens the accounts of the running system.
func (p *program) accounts(ctx context.Context) (*cli.Accounts, error) {
	cfg, err := p.load()
	if err != nil {
		return nil, err
	}
	return cli.OpenAccounts(ctx, cfg.Backend)
}

// onAccounts runs work on the accounts of the running system, and tells what became of the account.
func (p *program) onAccounts(cmd *cobra.Command, name, done string, work func(context.Context, *cli.Accounts) (cli.AccountView, error)) error {
	accounts, err := p.accounts(cmd.Context())
	if err != nil {
		return err
	}
	defer accounts.Close()
	view, err := work(cmd.Context(), accounts)
	if err != nil {
		return fmt.Errorf("account %s: %w", name, err)
	}
	if p.json {
		return cli.WriteJSON(p.stdout, view)
	}
	roles := "no roles"
	if len(view.Roles) > 0 {
		roles = "roles " + strings.Join(view.Roles, ", ")
	}
	if view.Disabled {
		roles += ", disabled"
	}
	fmt.Fprintf(p.stdout, "%s: account %s (user %s), %s\n", done, view.Name, view.ID, roles)
	return nil
}

const changedAccount = "changed, tokens of before are void"

func (p *program) createAccountCommand() *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make an account, with roles",
		Example: "  headgate account create ops --role admin\n  pass show shop/ops | headgate account create ops --role admin",
		Args:    exactly(1, "name one account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := p.readPassword("Password of " + args[0])
			if err != nil {
				return err
			}
			return p.onAccounts(cmd, args[0], "created", func(ctx context.Context, a *cli.Accounts) (cli.AccountView, error) {
				return a.Create(ctx, args[0], password, roles)
			})
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", nil, "a role that it has, such as admin (several: once for each, or separated by commas)")
	return p.jsonFlag(cmd)
}

func (p *program) grantCommand() *cobra.Command {
	return p.rolesCommand("grant NAME ROLE...", "Give an account roles", "  headgate account grant ann admin", (*cli.Accounts).Grant)
}

func (p *program) revokeCommand() *cobra.Command {
	return p.rolesCommand("revoke NAME ROLE...", "Take roles from an account", "  headgate account revoke ann admin", (*cli.Accounts).Revoke)
}

func (p *program) rolesCommand(use, short, example string, change func(*cli.Accounts, context.Context, string, ...string) (cli.AccountView, error)) *cobra.Command {
	return p.jsonFlag(&cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("name an account and its roles; see `%s --help`", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.onAccounts(cmd, args[0], changedAccount, func(ctx context.Context, a *cli.Accounts) (cli.AccountView, error) {
				return change(a, ctx, args[0], args[1:]...)
			})
		},
	})
}

func (p *program) accountPasswordCommand() *cobra.Command {
	return p.jsonFlag(&cobra.Command{
		Use:   "password NAME",
		Short: "Give an account another password",
		Args:  exactly(1, "name one account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := p.readPassword("New password of " + args[0])
			if err != nil {
				return err
			}
			return p.onAccounts(cmd, args[0], changedAccount, func(ctx context.Context, a *cli.Accounts) (cli.AccountView, error) {
				return a.SetPassword(ctx, args[0], password)
			})
		},
	})
}

func (p *program) accountChange(use, short string, change func(*cli.Accounts, context.Context, string) (cli.AccountView, error)) *cobra.Command {
	return p.jsonFlag(&cobra.Command{
		Use:   use,
		Short: short,
		Args:  exactly(1, "name one account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.onAccounts(cmd, args[0], changedAccount, func(ctx context.Context, a *cli.Accounts) (cli.AccountView, error) {
				return change(a, ctx, args[0])
			})
		},
	})
}

func (p *program) listAccountsCommand() *cobra.Command {
	var role string
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the accounts that have roles, or all of them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all && role != "" {
				return usage("--all: does not go with --role")
			}
			if all {
				role = cli.AnyAccount
			}
			accounts, err := p.accounts(cmd.Context())
			if err != nil {
				return err
			}
			defer accounts.Close()
			list, err := accounts.List(cmd.Context(), role)
			if err != nil {
				return fmt.Errorf("listing accounts: %w", err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, list)
			}
			return cli.WriteAccounts(p.stdout, list)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only those that have this role")
	cmd.Flags().BoolVar(&all, "all", false, "those without roles, too: everybody who registered")
	return p.jsonFlag(cmd)
}
