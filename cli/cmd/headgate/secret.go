package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

// maxSecrets bounds one command.
const maxSecrets = 1000

func (p *program) secretCommand() *cobra.Command {
	count, env := 1, false
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make secrets: keys and passwords that cannot be guessed",
		Long: "Make secrets of 260 random bits, in capital letters and digits, one a line. With --env, write an environment\n" +
			"file with every name that the samples in deploy/config use. Programs in production refuse secrets that are\n" +
			"shorter than 32 bytes, repeat themselves, or are those of samples.",
		Example: "  umask 077; headgate secret --env > headgate.env",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case env && cmd.Flags().Changed("count"):
				return usage("--count: does not go with --env")
			case count < 1 || count > maxSecrets:
				return usage("--count: must be 1 to %d, is %d", maxSecrets, count)
			case env:
				return cli.WriteEnvironment(p.stdout)
			}
			for range count {
				fmt.Fprintln(p.stdout, cli.NewSecret())
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&count, "count", count, "how many")
	cmd.Flags().BoolVar(&env, "env", false, "write an environment file for the samples in deploy/config")
	return cmd
}
