//go:build linux

package main

import (
	"context"
	"errors"
	"strings"

	"headgate.example/apptest/cluster"
)

// add brings in a new member, or a shard of them: its files, then whoever has to know of it, in the order in
// which nobody is asked for what he does not know yet.
func (p *program) add(ctx context.Context, name string) error {
	f, err := p.opened()
	if err != nil {
		return err
	}
	source, err := f.Shifted(p.source, 0)
	if err != nil {
		return err
	}
	a, err := cluster.Add(source, name)
	if err != nil {
		return err
	}
	p.say("written in %s: %s", source, strings.Join(a.Files, " "))
	c := cluster.Dial(f)
	st, err := c.State(ctx)
	if errors.Is(err, cluster.ErrNoSupervisor) {
		p.say("the cluster is not running: %s starts with the next `up`", strings.Join(a.Members, ", "))
		return nil
	}
	if err != nil {
		return err
	}
	for _, step := range cluster.Plan(a, st) {
		p.say("%s", step.Why)
		if err := step.Do(ctx, c, p.say); err != nil {
			return err
		}
	}
	return nil
}

// roll restarts members in turn: all of Headgate's programs, or those of the kinds named.
func (p *program) roll(ctx context.Context, kinds []string) error {
	f, err := p.opened()
	if err != nil {
		return err
	}
	c := cluster.Dial(f)
	st, err := c.State(ctx)
	if err != nil {
		return err
	}
	if len(kinds) == 0 {
		kinds = []string{cluster.Counter, cluster.Consumer, cluster.Backend, cluster.Interceptor}
	}
	for _, kind := range kinds {
		if err := cluster.Roll(ctx, c, st.Of(kind), p.from, p.say); err != nil {
			return err
		}
	}
	return nil
}
