package revocations

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"headgate.example/backend/internal/countertest"
	"headgate.example/counter/client"
	"headgate.example/lib/service/servicetest"
)

const keep = 24 * time.Hour

var start = time.UnixMilli(1_900_000_000_000)

// meddling is a counter at which something happens between two calls of a Keeper.
type meddling struct {
	*countertest.Counter
	beforeUnban func()
	afterUnban  error
}

func (m *meddling) Unban(ctx context.Context, kind, value string) error {
	if m.beforeUnban != nil {
		m.beforeUnban()
	}
	if err := m.Counter.Unban(ctx, kind, value); err != nil {
		return err
	}
	return m.afterUnban
}

func revocations(t *testing.T, c Counter) map[string]int64 {
	t.Helper()
	rules, err := c.Rules(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, r := range rules.Changes {
		if r.Kind == client.RuleToken && !r.Removed {
			all[r.Value] = r.Before
		}
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStaleRevocationsAreForgotten(t *testing.T) {
	c := countertest.New(start)
	k := New(c, keep, servicetest.Log(t))
	ctx, at := t.Context(), start.UnixMilli()
	must(t, k.Round(ctx))
	for i := range 5 {
		must(t, c.Revoke(ctx, fmt.Sprint("old", i), at))
	}
	must(t, c.Ban(ctx, client.RuleUser, "old0", 0, "stays"))
	c.Advance(keep)
	must(t, c.Revoke(ctx, "young", at+keep.Milliseconds()))
	must(t, k.Round(ctx))
	if n := len(revocations(t, c)); n != 6 {
		t.Errorf("%d revocations are left when none is older than the tokens, want 6", n)
	}
	c.Advance(time.Millisecond)
	must(t, k.Round(ctx))
	if left := revocations(t, c); len(left) != 1 || left["young"] == 0 {
		t.Errorf("left: %v", left)
	}
	if k.inForce.Load() != 2 || !k.HasRoom() {
		t.Errorf("%d rules stand", k.inForce.Load())
	}
	calls := c.Calls("UNBAN")
	must(t, k.Round(ctx))
	if c.Calls("UNBAN") != calls {
		t.Error("there was nothing to forget")
	}
}

// Whoever is signed out anew at the very moment at which his old revocation is forgotten stays signed out.
func TestARevocationMeanwhileIsNotLost(t *testing.T) {
	for name, others := range map[string]bool{"his own": false, "another's": true} {
		c := &meddling{Counter: countertest.New(start)}
		k := New(c, keep, servicetest.Log(t))
		ctx := t.Context()
		must(t, c.Revoke(ctx, "a1", start.UnixMilli()))
		c.Advance(keep + time.Hour)
		anew := start.Add(keep + time.Hour).UnixMilli()
		c.beforeUnban = func() {
			if others {
				must(t, c.Ban(ctx, client.RuleUser, "a2", 0, ""))
				return
			}
			must(t, c.Revoke(ctx, "a1", anew))
		}
		must(t, k.Round(ctx))
		left := revocations(t, c)
		if !others && left["a1"] < anew {
			t.Errorf("%s: %v: a token from before %d holds again", name, left, anew)
		}
		if others && len(left) != 0 {
			t.Errorf("%s: %v: nothing of his was lost", name, left)
		}
	}
}

// Nor when it is not known whether it was forgotten.
func TestAnUnknownOutcomeIsSettled(t *testing.T) {
	c := &meddling{Counter: countertest.New(start)}
	k := New(c, keep, servicetest.Log(t))
	ctx := t.Context()
	must(t, c.Revoke(ctx, "a1", start.UnixMilli()))
	c.Advance(keep + time.Hour)
	anew := start.Add(keep + time.Hour).UnixMilli()
	c.beforeUnban = func() { must(t, c.Revoke(ctx, "a1", anew)) }
	c.afterUnban = client.ErrUnknown
	if err := k.Round(ctx); !errors.Is(err, client.ErrUnknown) {
		t.Fatal(err)
	}
	c.beforeUnban, c.afterUnban = nil, nil
	must(t, k.Round(ctx))
	if left := revocations(t, c); left["a1"] < anew {
		t.Errorf("%v: a token from before %d holds again", left, anew)
	}
}

func TestRoomIsLeftToOperators(t *testing.T) {
	c := countertest.New(start)
	k := New(c, keep, servicetest.Log(t))
	for i := range Room {
		must(t, c.Revoke(t.Context(), fmt.Sprint("u", i), start.UnixMilli()))
	}
	if must(t, k.Round(t.Context())); k.HasRoom() {
		t.Error("there is room")
	}
	c.Fail(client.ErrUnavailable)
	if err := k.Round(t.Context()); !errors.Is(err, client.ErrUnavailable) || k.HasRoom() {
		t.Errorf("with the counter away: %v", err)
	}
	c.Fail(nil)
	c.Advance(keep + time.Second)
	must(t, k.Round(t.Context()))
	if n := k.inForce.Load(); n != Room-maxForgotten || !k.HasRoom() {
		t.Errorf("%d rules stand after a round", n)
	}
}
