package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/counter/client"
)

// ofShard adds --shard to a command about one shard's voters.
func ofShard(cmd *cobra.Command, shard *string) *cobra.Command {
	cmd.Flags().StringVar(shard, "shard", "", "`name` of the shard (default: the first one)")
	return cmd
}

func (p *program) votersCommand() *cobra.Command {
	var shard string
	cmd := &cobra.Command{
		Use:   "voters",
		Short: "List a shard's voters, as its leader sees them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			voters, err := cli.Voters(cmd.Context(), cfg.Backend.Counter, shard)
			if err != nil {
				return fmt.Errorf("listing voters: %w", err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, voters)
			}
			return cli.WriteVoters(p.stdout, voters)
		},
	}
	return p.jsonFlag(ofShard(cmd, &shard))
}

func (p *program) addVoterCommand() *cobra.Command {
	var shard string
	var v client.Voter
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "add-voter ID RAFT CLIENT",
		Short: "Bring in a voter that runs on an empty data_dir, or change a voter's addresses",
		Long: "Bring in a voter that runs on an empty data_dir, or change a voter's addresses: RAFT is host:port for the other\n" +
			"voters, CLIENT where it answers clients. It gets the log, and its vote when it has caught up. An id is used once:\n" +
			"a voter that lost its folder comes back under a new one, and its old id is removed.",
		Example: "  headgate counter add-voter c4 counter-4:7381 counter-4:7380",
		Args:    exactly(3, "name the voter's id and its two addresses"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			v.ID, v.Raft, v.Client = args[0], args[1], args[2]
			if err := cli.AddVoter(cmd.Context(), cfg.Backend.Counter, shard, v, wait); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "voter %s has caught up and votes\n", v.ID)
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait until it votes")
	return ofShard(cmd, &shard)
}

func (p *program) removeVoterCommand() *cobra.Command {
	var shard string
	cmd := &cobra.Command{
		Use:   "remove-voter ID",
		Short: "Take a voter out for good; a leader hands over first",
		Args:  exactly(1, "name one voter's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			if err := cli.RemoveVoter(cmd.Context(), cfg.Backend.Counter, shard, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "voter %s is out\n", args[0])
			return nil
		},
	}
	return ofShard(cmd, &shard)
}
