package main

import (
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) tokenCommand() *cobra.Command {
	spec := cli.TokenSpec{Prefix: "u"}
	var out string
	cmd := &cobra.Command{
		Use:   "token --users N --out FILE",
		Short: "Sign tokens for a rehearsal: CSV with the header user,token",
		Long: "Sign tokens with the configured key, one a line: users u000001, u000002, ... They need no\n" +
			"accounts. Whoever reads the file is signed in as these users: it is written with mode 0600.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			if out == "-" {
				return cli.WriteTokens(p.stdout, cfg.Tokens(), spec, time.Now())
			}
			return cli.WriteTokenFile(out, cfg.Tokens(), spec, time.Now())
		},
	}
	cmd.Flags().IntVar(&spec.Users, "users", 0, "number of users")
	cmd.Flags().StringVar(&out, "out", "", "`file` to write; - is standard output")
	cmd.Flags().StringVar(&spec.Prefix, "prefix", spec.Prefix, "what the users' names begin with")
	cmd.Flags().DurationVar(&spec.Life, "life", 0, "how long the tokens are good for (default: as the config says)")
	must(cmd.MarkFlagRequired("users"))
	must(cmd.MarkFlagRequired("out"))
	return cmd
}

// must is for what can only fail when the program is written wrongly.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
