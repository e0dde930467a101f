package revocations

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"headgate.example/counter/client"
)

const (
	// Room is how many rules (bans and revocations) may stand before buyers are refused to sign out
	// everywhere: the counter keeps 50,000, and the rest is left to operators.
	Room = 40_000
	// roundEvery is the time between two rounds, and maxForgotten bounds one.
	roundEvery   = time.Minute
	maxForgotten = 1000
	callTimeout  = 5 * time.Second
)

// Counter is what a Keeper needs of the counter's client.
type Counter interface {
	Revoker
	Rules(ctx context.Context, since int64) (client.Rules, error)
	Unban(ctx context.Context, kind, value string) error
}

// Keeper forgets revocations that are older than any token.
type Keeper struct {
	counter Counter
	keep    time.Duration
	log     *slog.Logger
	inForce atomic.Int64

	// Of the one goroutine that runs rounds.
	index   int64
	revoked map[string]int64 // by user: tokens of before are void
	bans    map[client.Rule]struct{}
	unsure  string // the user whose revocation was or was not forgotten
}

// New makes a Keeper that keeps revocations for at least so long: the longest life of any token.
func New(counter Counter, keep time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{counter: counter, keep: keep, log: log}
}

// HasRoom reports whether one more revocation leaves operators enough room, as of the last round.
func (k *Keeper) HasRoom() bool { return k.inForce.Load() < Room }

// Run makes a round at once and then each minute until ctx ends. Several backends may do so at a time.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(roundEvery)
	defer ticker.Stop()
	for {
		if err := k.Round(ctx); err != nil && ctx.Err() == nil {
			k.log.Debug("old revocations are not forgotten for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Round looks once and forgets what may be forgotten, up to a bound. It is not for concurrent use.
func (k *Keeper) Round(ctx context.Context) error {
	now, _, err := k.follow(ctx)
	if err != nil {
		return err
	}
	if k.unsure != "" {
		if err := k.settle(ctx, now); err != nil {
			return err
		}
	}
	forgotten := 0
	for user, before := range k.revoked {
		if !k.stale(before, now) || forgotten == maxForgotten || ctx.Err() != nil {
			continue
		}
		if err := k.forget(ctx, user); err != nil {
			return err
		}
		forgotten++
	}
	k.inForce.Store(int64(len(k.revoked) + len(k.bans)))
	if forgotten > 0 {
		k.log.Info("old revocations forgotten", "users", forgotten, "rules_left", k.inForce.Load())
	}
	return nil
}

func (k *Keeper) stale(before, now int64) bool { return before < now-k.keep.Milliseconds() }

// follow fetches what changed, and gives the counter's time and whether every change since the last call
// was among it: of several changes of one rule only the last one is told.
func (k *Keeper) follow(ctx context.Context) (now int64, whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := k.counter.Rules(ctx, k.index)
	if err != nil {
		return 0, false, fmt.Errorf("fetching the rules: %w", err)
	}
	whole = !answer.Full && answer.Index-k.index == int64(len(answer.Changes))
	if answer.Full || k.revoked == nil {
		k.revoked, k.bans = map[string]int64{}, map[client.Rule]struct{}{}
	}
	for _, r := range answer.Changes {
		name := client.Rule{Kind: r.Kind, Value: r.Value}
		switch {
		case r.Kind == client.RuleToken && r.Removed:
			delete(k.revoked, r.Value)
		case r.Kind == client.RuleToken:
			k.revoked[r.Value] = r.Before
		case r.Removed:
			delete(k.bans, name)
		default:
			k.bans[name] = struct{}{}
		}
	}
	k.index = answer.Index
	k.inForce.Store(int64(len(k.revoked) + len(k.bans)))
	return answer.Now, whole, nil
}

// forget takes one stale revocation back. The counter knows no "unless it has changed": if the user was
// revoked anew at the same moment, that is lost, and shows as a change that is not told. Whoever it may
// have been is then signed out once more.
func (k *Keeper) forget(ctx context.Context, user string) error {
	now, _, err := k.follow(ctx)
	if err != nil {
		return err
	}
	if before, there := k.revoked[user]; !there || !k.stale(before, now) {
		return nil
	}
	k.unsure = user
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := k.counter.Unban(calling, client.RuleToken, user); err != nil {
		return fmt.Errorf("forgetting a revocation: %w", err)
	}
	now, whole, err := k.follow(ctx)
	if err != nil {
		return err
	}
	if whole {
		k.unsure = ""
		return nil
	}
	return k.settle(ctx, now)
}

// settle signs the user out once more whose revocation was forgotten, or may have been, while something
// else changed.
func (k *Keeper) settle(ctx context.Context, now int64) error {
	if _, there := k.revoked[k.unsure]; !there {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if err := k.counter.Revoke(ctx, k.unsure, now); err != nil {
			return fmt.Errorf("revoking once more: %w", err)
		}
	}
	k.unsure = ""
	return nil
}
