//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// settleWithin bounds the wait, after a restart, until the others have taken the member back.
const settleWithin = 60 * time.Second

// Roll restarts members in turn, each when the others have taken the one before back: the interceptors see
// each other serve, a shard has a leader and all its voters. With bin the programs are taken from another folder.
func Roll(ctx context.Context, c *Client, members []string, bin string, say func(format string, args ...any)) error {
	query := url.Values{}
	if bin != "" {
		query.Set("bin", bin)
	}
	for _, name := range members {
		began := time.Now()
		m, err := c.Do(ctx, name, "restart", query)
		if err != nil {
			return fmt.Errorf("restarting %s: %w", name, err)
		}
		if err := Settled(ctx, c, m.Kind); err != nil {
			return fmt.Errorf("%s was restarted, but %w", name, err)
		}
		say("%-14s restarted in %.1f s, version %s", name, time.Since(began).Seconds(), m.Version)
	}
	return nil
}

// Settled waits until the members of a kind have taken each other back.
func Settled(ctx context.Context, c *Client, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := ""
	for {
		why, err := unsettled(ctx, c, kind)
		if err == nil && why == "" {
			return nil
		}
		if why != "" {
			last = why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last != "" {
				why = last
			}
			return fmt.Errorf("the others have not taken it back: %s: %w", why, errors.Join(err, ctx.Err()))
		}
	}
}

func unsettled(ctx context.Context, c *Client, kind string) (why string, err error) {
	st, err := c.State(ctx)
	if err != nil {
		return "", err
	}
	switch kind {
	case Interceptor:
		return ringUnsettled(ctx, st)
	case Counter:
		for _, name := range st.shards() {
			if s := lookAtShard(ctx, st, name); s.Leader == "" || s.Away > 0 {
				return fmt.Sprintf("shard %s: led by %q, %d voters away %s", name, s.Leader, s.Away, s.Error), nil
			}
		}
	}
	return "", nil
}

// ringUnsettled wants every interceptor that runs to see all that run, and no user's budget on its way. That
// they are configured alike is asked for elsewhere: while they are restarted in turn, they are not.
func ringUnsettled(ctx context.Context, st State) (why string, err error) {
	var running []Status
	for _, m := range st.Members {
		if m.Kind == Interceptor && m.State == Running && !m.Cut {
			running = append(running, m)
		}
	}
	for _, m := range running {
		var r Ring
		if err := get(ctx, m.Admin+"/edge/ring", &r); err != nil {
			return "", err
		}
		if r.Pending > 0 {
			return fmt.Sprintf("%s waits for the budgets of %d parts", m.Name, r.Pending), nil
		}
		for _, other := range running {
			if !slices.ContainsFunc(r.Members, func(part RingPart) bool { return part.Name == other.Name && part.State == "serving" }) {
				return fmt.Sprintf("%s does not take %s for one that serves", m.Name, other.Name), nil
			}
		}
	}
	return "", nil
}

// Of names the members of a kind.
func (s *State) Of(kind string) (names []string) {
	for _, m := range s.Members {
		if m.Kind == kind {
			names = append(names, m.Name)
		}
	}
	return names
}

// Step is a part of bringing in a new member.
type Step struct {
	Why string // and what
	Do  func(ctx context.Context, c *Client, say func(format string, args ...any)) error
}

// Plan gives the steps that bring an addition into a running cluster. What cannot be changed while a program
// runs (an interceptor's peers, anybody's list of shards) is read by restarting one after the other.
func Plan(a *Addition, st State) []Step {
	sync := Step{"starting " + strings.Join(a.Members, ", "), func(ctx context.Context, c *Client, _ func(string, ...any)) error {
		if _, err := c.Sync(ctx); err != nil {
			return err
		}
		return Settled(ctx, c, a.Kind)
	}}
	restart := func(why, kind string) Step {
		return Step{why, func(ctx context.Context, c *Client, say func(string, ...any)) error {
			return Roll(ctx, c, st.Of(kind), "", say)
		}}
	}
	reload := func(why, kind string) Step {
		return Step{why, func(ctx context.Context, c *Client, _ func(string, ...any)) error {
			for _, name := range st.Of(kind) {
				if _, err := c.Do(ctx, name, "reload", nil); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	switch a.Kind {
	case Interceptor:
		return []Step{
			restart("restarting the interceptors in turn: their list of peers is read at the start", Interceptor), sync,
			reload("nginx reads its config again: it may send buyers there", Nginx),
		}
	case Backend:
		return []Step{sync, reload("the interceptors read their configs again", Interceptor)}
	case Counter:
		return []Step{
			sync,
			restart("restarting the counters in turn: their list of peers is read at the start", Counter),
			restart("restarting the interceptors in turn: they must know the shard", Interceptor),
			restart("restarting the consumers in turn, likewise", Consumer),
			restart("restarting the backends in turn, last: sales that they create from now on are sold by the new shard, too", Backend),
		}
	}
	return []Step{sync}
}
