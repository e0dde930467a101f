package main

import (
	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/hashring"
)

func (p *program) ringCommand() *cobra.Command {
	var members, add, remove, keys []string
	edges := false
	params := hashring.DefaultParams()
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show who owns which share of the users, and what a change would move",
		Long: "Show the shares of a consistent-hash ring, and what adding or removing a member would move.\n" +
			"Of an interceptor's config: the edges that it lists as peers. Of the config of all layers: the counter's\n" +
			"shards, or with --edges its interceptor's peers. Nothing that runs is asked; see `headgate edge ring` for that.",
		Example: "  headgate ring --config interceptor.yaml --add edge-4 --remove edge-1 --key u000001\n" +
			"  headgate ring --members e1,e2,e3 --add e4",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var owner func(*hashring.Ring, string) string
			if len(members) == 0 {
				path, err := p.configPath()
				if err != nil {
					return err
				}
				if members, owner, err = cli.LoadRing(path, edges); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			report, err := cli.ReportRing(members, params, add, remove, keys, owner)
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
	flags.StringSliceVar(&members, "members", nil, "names of the members, instead of a config's")
	flags.BoolVar(&edges, "edges", false, "of the config of all layers: the edges, not the counter's shards")
	flags.StringSliceVar(&add, "add", nil, "what would it move if `name` were added?")
	flags.StringSliceVar(&remove, "remove", nil, "what would it move if `name` were removed?")
	flags.StringSliceVar(&keys, "key", nil, "who owns this user (or, of --members, this `key`)?")
	flags.IntVar(&params.Partitions, "partitions", params.Partitions, "keys fall into so many partitions")
	flags.IntVar(&params.Replicas, "replicas", params.Replicas, "points of each member on the ring")
	flags.Float64Var(&params.Load, "load", params.Load, "bound on a member's share, as a multiple of the even one")
	return p.jsonFlag(cmd)
}
