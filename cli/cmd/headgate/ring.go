package main

import (
	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/hashring"
)

func (p *program) ringCommand() *cobra.Command {
	var members, join, leave, keys []string
	params := hashring.DefaultParams()
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show who owns which share of the keys, and what a join or leave would move",
		Long: "Show the shares of a consistent-hash ring, and what each change of its members would move.\n" +
			"Without --members: the counter's shards as the config names them.",
		Example: "  headgate ring --members e1,e2,e3 --join e4 --leave e1 --key u000001",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(members) == 0 {
				cfg, err := p.load()
				if err != nil {
					return err
				}
				members = cfg.ShardNames()
			}
			report, err := cli.ReportRing(members, params, join, leave, keys)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if p.json {
				return cli.WriteJSON(p.stdout, report)
			}
			return report.WriteTable(p.stdout)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&members, "members", nil, "names of the members (default: the counter's shards of the config)")
	flags.StringSliceVar(&join, "join", nil, "what would it move if `name` joined?")
	flags.StringSliceVar(&leave, "leave", nil, "what would it move if `name` left?")
	flags.StringSliceVar(&keys, "key", nil, "who owns this `key`?")
	flags.IntVar(&params.Partitions, "partitions", params.Partitions, "keys fall into so many partitions")
	flags.IntVar(&params.Replicas, "replicas", params.Replicas, "points of each member on the ring")
	flags.Float64Var(&params.Load, "load", params.Load, "bound on a member's share, as a multiple of the even one")
	return p.jsonFlag(cmd)
}
