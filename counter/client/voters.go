package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Voter is a voter of a shard, as one of them sees it.
type Voter struct {
	ID          string        `json:"id"`
	Raft        string        `json:"raft"`   // where the other voters reach it
	Client      string        `json:"client"` // where it answers clients
	Votes       bool          `json:"votes"`  // false: it still catches up
	Leads       bool          `json:"leads"`
	Reachable   bool          `json:"reachable"`    // for the voter that tells
	Applied     int64         `json:"applied"`      // log entries
	ClockOffset time.Duration `json:"clock_offset"` // its wall clock against that of the voter that tells
}

// Voters lists the voters of a shard (the first one if name is empty), as the leader sees them; without
// a leader, as any voter does that answers.
func (c *Client) Voters(ctx context.Context, shardName string) ([]Voter, error) {
	s, err := c.shardNamed(shardName)
	if err != nil {
		return nil, err
	}
	var last error
	var seen []Voter
	asked := make(map[string]bool)
	for next := s.node(operator).address; next != "" && !asked[next]; {
		asked[next] = true
		voters, err := s.votersOf(ctx, next)
		last = err
		next = ""
		if err == nil {
			seen = voters
			for _, v := range voters {
				if v.Leads {
					next = v.Client // who knows best; asked once
				}
			}
			continue
		}
		for _, a := range s.Addresses {
			if !asked[a] {
				next = a
			}
		}
	}
	if seen == nil {
		return nil, last
	}
	return seen, nil
}

// votersOf asks one address.
func (s *shard) votersOf(ctx context.Context, address string) ([]Voter, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	n := s.nodeAt(address, operator)
	message, err := s.attempt(ctx, n, []string{"VOTERS"})
	if err != nil {
		if v := judge(ctx, err); v.final != nil {
			return nil, v.final
		}
		return nil, fmt.Errorf("%w: voter at %s: %w", ErrUnavailable, address, err)
	}
	rows, err := readArray(message, MaxAddresses)
	if err != nil {
		return nil, err
	}
	voters := make([]Voter, len(rows))
	for i := range rows {
		if voters[i], err = readVoter(rows[i]); err != nil {
			return nil, err
		}
	}
	return voters, nil
}

func readVoter(m rueidis.RedisMessage) (Voter, error) {
	r := readRow(m)
	v := Voter{
		ID: r.text("id"), Raft: r.text("raft"), Client: r.text("client"), Votes: r.truth("votes"), Leads: r.truth("leads"),
		Reachable: r.truth("reachable"), Applied: r.number("applied"), ClockOffset: time.Duration(r.number("clock_offset_ms")) * time.Millisecond,
	}
	return v, r.err
}

// AddVoter brings a voter into a shard (the first one if name is empty); it must be running, with an
// empty folder, or be one of the voters at another address. It returns when the shard knows the voter,
// who gets its vote after it has caught up: see Voters.
func (c *Client) AddVoter(ctx context.Context, shardName, id, raft, clientAddress string) error {
	s, err := c.shardNamed(shardName)
	if err != nil {
		return err
	}
	return s.ok(ctx, "VOTER.ADD", id, raft, clientAddress)
}

// RemoveVoter takes a voter out of a shard for good.
func (c *Client) RemoveVoter(ctx context.Context, shardName, id string) error {
	s, err := c.shardNamed(shardName)
	if err != nil {
		return err
	}
	return s.ok(ctx, "VOTER.REMOVE", id)
}

func (c *Client) shardNamed(name string) (*shard, error) {
	if name == "" {
		return c.shards[0], nil
	}
	if s := c.byName[name]; s != nil {
		return s, nil
	}
	return nil, &RequestError{Field: "shard", Reason: strconv.Quote(name) + " is not a shard of this client's config"}
}
