package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

// edgeCommand asks nodes themselves, at their admin ports.
func (p *program) edgeCommand() *cobra.Command {
	var admins []string
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Look into running interceptors: why was this user refused, who asks most, who is banned, who owns whom; drain one",
		Long: "Look into running interceptors through their admin ports. Name each with --admin HOST:PORT; without it the\n" +
			"admin port of the config (`headgate dev`) is asked.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringSliceVar(&admins, "admin", nil, "`host:port` of a node's admin port; several are asked one after the other")
	nodes := func() ([]string, error) {
		if len(admins) > 0 {
			return admins, nil
		}
		cfg, err := p.load()
		if err != nil {
			return nil, usage("--admin: name the admin port of a node, such as edge-1:8181 (%v)", err)
		}
		return []string{cfg.AdminAddress()}, nil
	}
	cmd.AddCommand(p.edgeUserCommand(nodes), p.edgeRefusalsCommand(nodes), p.edgeTopCommand(nodes), p.edgeBansCommand(nodes),
		p.edgeRingCommand(nodes), p.edgeDrainCommand(nodes))
	return cmd
}

// nodesOf gives the admin ports to ask.
type nodesOf func() ([]string, error)

// show asks the nodes for a page and writes their answers; those of some are written although others
// gave none.
func show[T any](ctx context.Context, p *program, nodes nodesOf, page string, write func(io.Writer, []T) error) error {
	admins, err := nodes()
	if err != nil {
		return err
	}
	views, failed := cli.AskEdges[T](ctx, admins, page)
	if len(views) > 0 {
		if p.json {
			err = cli.WriteJSON(p.stdout, views)
		} else {
			err = write(p.stdout, views)
		}
	}
	return errors.Join(err, failed)
}

func (p *program) edgeUserCommand(nodes nodesOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "user USER",
		Short:   "Who owns a user, what is left of his budgets, what stands against him, and why he was refused",
		Example: "  headgate edge user u000042 --admin edge-1:8181 --admin edge-2:8181",
		Args:    exactly(1, "name one user id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), p, nodes, "/edge/user?id="+url.QueryEscape(args[0]), cli.WriteUsers)
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) edgeRefusalsCommand(nodes nodesOf) *cobra.Command {
	var user, address, code string
	var limit int
	cmd := &cobra.Command{
		Use:   "refusals",
		Short: "The last refused requests, the latest first",
		Long: "The last refused requests, the latest first: of each code up to 256, and of --user also the last reasons, with\n" +
			"how often in a row, which a crowd does not flush.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"user": user, "address": address, "code": code} {
				if value != "" {
					query.Set(name, value)
				}
			}
			return show(cmd.Context(), p, nodes, "/edge/refusals?"+query.Encode(), cli.WriteRefusals)
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "of this user `id` only")
	cmd.Flags().StringVar(&address, "address", "", "of this address or `network` only")
	cmd.Flags().StringVar(&code, "code", "", "with this `code` only, such as too_soon")
	return p.jsonFlag(limitFlag(cmd, &limit))
}

func (p *program) edgeTopCommand(nodes nodesOf) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "The users and addresses that ask most, of the last minute or two",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd.Context(), p, nodes, "/edge/top?limit="+strconv.Itoa(limit), cli.WriteTop)
		},
	}
	return p.jsonFlag(limitFlag(cmd, &limit))
}

func (p *program) edgeBansCommand(nodes nodesOf) *cobra.Command {
	var limit int
	var value string
	cmd := &cobra.Command{
		Use:   "bans",
		Short: "The bans that nodes enforce: their own, after strikes, and those of operators",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if value != "" {
				query.Set("value", value)
			}
			return show(cmd.Context(), p, nodes, "/edge/bans?"+query.Encode(), cli.WriteEdgeBans)
		},
	}
	cmd.Flags().StringVar(&value, "value", "", "those that hold for this `user or address` only")
	return p.jsonFlag(limitFlag(cmd, &limit))
}

func limitFlag(cmd *cobra.Command, limit *int) *cobra.Command {
	cmd.Flags().IntVar(limit, "limit", 50, "at most so many of each node")
	return cmd
}
