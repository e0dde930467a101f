package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"headgate.example/counter/client"
)

// voterPoll lies between two looks at a new voter that catches up.
const voterPoll = 200 * time.Millisecond

// Voters lists the voters of a shard of the counter (the first one if the name is empty).
func Voters(ctx context.Context, counter client.Config, shard string) ([]client.Voter, error) {
	c, err := client.Open(counter)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Voters(ctx, shard)
}

// AddVoter brings a voter into a shard, and waits until it has caught up and votes.
func AddVoter(ctx context.Context, counter client.Config, shard string, v client.Voter, wait time.Duration) error {
	c, err := client.Open(counter)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.AddVoter(ctx, shard, v.ID, v.Raft, v.Client); err != nil {
		return fmt.Errorf("bringing in voter %s: %w", v.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	poll := time.NewTicker(voterPoll)
	defer poll.Stop()
	for {
		voters, err := c.Voters(ctx, shard)
		if err == nil && votes(voters, v.ID) {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("voter %s is in, but has not caught up within %s: it gets its vote by itself when it has; see `headgate counter voters`", v.ID, wait)
		}
	}
}

func votes(voters []client.Voter, id string) bool {
	for _, v := range voters {
		if v.ID == id && v.Votes {
			return true
		}
	}
	return false
}

// RemoveVoter takes a voter out of a shard for good.
func RemoveVoter(ctx context.Context, counter client.Config, shard, id string) error {
	c, err := client.Open(counter)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.RemoveVoter(ctx, shard, id); err != nil {
		return fmt.Errorf("taking out voter %s: %w", id, err)
	}
	return nil
}

// WriteVoters writes voters as a table for people.
func WriteVoters(w io.Writer, voters []client.Voter) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "VOTER\tROLE\tRAFT\tCLIENTS\tAPPLIED\tCLOCK\tNOTE")
	for _, v := range voters {
		role, note := "follower", ""
		switch {
		case v.Leads:
			role = "leader"
		case !v.Votes:
			role = "catching up"
		}
		if !v.Reachable {
			note = "does not answer"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%+dms\t%s\n", plainText(v.ID), role, plainText(v.Raft), plainText(v.Client), v.Applied, v.ClockOffset.Milliseconds(), note)
	}
	return out.Flush()
}
