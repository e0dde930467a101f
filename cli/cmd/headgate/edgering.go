package main

import (
	"errors"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) edgeRingCommand(nodes nodesOf) *cobra.Command {
	return p.jsonFlag(&cobra.Command{
		Use:   "ring",
		Short: "Show which edges live, which share of the users each has, and whether they are configured alike",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd.Context(), p, nodes, "/edge/ring", cli.WriteRings)
		},
	})
}

func (p *program) edgeDrainCommand(nodes nodesOf) *cobra.Command {
	return p.jsonFlag(&cobra.Command{
		Use:   "drain",
		Short: "Take a node out of the ring: it hands its users over and turns unready, and is to be stopped then",
		Long: "Take a node out of the ring: it hands its users' budgets over to the other edges, turns unready, and goes on\n" +
			"serving what still comes until it is stopped. Stopping a node (SIGTERM) does the same by itself.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			admins, err := nodes()
			if err != nil {
				return err
			}
			reports, failed := cli.DrainEdges(cmd.Context(), admins)
			if len(reports) > 0 {
				if p.json {
					err = cli.WriteJSON(p.stdout, reports)
				} else {
					err = cli.WriteRings(p.stdout, reports)
				}
			}
			return errors.Join(err, failed)
		},
	})
}
