package client_test

import (
	"errors"
	"testing"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

func second[T any](_ T, err error) error { return err }

func testSaleCalls(t *testing.T, c *client.Client) {
	ctx := t.Context()
	info, err := c.SaleInfo(ctx, "1")
	if err != nil || info.ID != "1" || info.Revision != 2 || info.Paused || info.Stock != 10 || info.Limit != 2 || info.Available != 10 ||
		info.HoldForMillis != 30_000 || len(info.Shards) != 1 || info.Ring.Load != 1.05 || info.Now == 0 || info.Phase(info.Now) != sale.Open {
		t.Errorf("info: %+v, %v", info, err)
	}
	if list, err := c.SaleList(ctx); err != nil || len(list) != 1 || list[0].ID != "1" {
		t.Errorf("list: %+v, %v", list, err)
	}
	for i, change := range []func() error{
		func() error { return c.PauseSale(ctx, "1", 3) },
		func() error { return c.SetStock(ctx, "1", 4, 8) },
		func() error { return c.ResumeSale(ctx, "1", 5) },
		func() error { return c.CloseSale(ctx, "1", 6) },
	} {
		for range 2 { // the same revision again is accepted
			if err := change(); err != nil {
				t.Errorf("change %d: %v", i, err)
			}
		}
	}
	audit, err := c.Audit(ctx, "1")
	if err != nil || !audit.Holds || audit.Total.Stock != 8 || audit.Total.Alloc != 8 || audit.Total.Available != 8 || audit.Revision != 6 || len(audit.Shards) != 1 || audit.Shards[0].Index == 0 {
		t.Errorf("audit: %+v, %v", audit, err)
	}
	if err := c.ForgetSale(ctx, "1", 7); err != nil {
		t.Errorf("forgetting: %v", err)
	}
	restore := `{"terms":{"id":"9","revision":1,"stock":5,"limit":0,"opens_at":1767225600000,"hold_for_ms":30000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}},"revision":4,"id_floor":"1","sold":[{"order":"77","user":"u1","quantity":2,"slot":1}]}`
	if err := c.RestoreSale(ctx, []byte(restore)); err != nil {
		t.Errorf("restoring: %v", err)
	}
	if info, err := c.SaleInfo(ctx, "9"); err != nil || !info.Paused || info.Revision != 4 || info.Confirmed != 2 || info.Available != 3 {
		t.Errorf("the restored sale: %+v, %v", info, err)
	}
	wrong := (*client.RequestError)(nil)
	if err := c.RestoreSale(ctx, []byte("{}")); !errors.As(err, &wrong) {
		t.Errorf("restoring nothing: %v", err)
	}
}

func testRuleCalls(t *testing.T, c *client.Client) {
	ctx := t.Context()
	if rules, err := c.Rules(ctx, 0); err != nil || !rules.Full || len(rules.Changes) != 0 || rules.Now == 0 {
		t.Errorf("no rules: %+v, %v", rules, err)
	}
	for i, change := range []func() error{
		func() error { return c.Ban(ctx, client.RuleUser, "u1", 0, "spam") },
		func() error { return c.Ban(ctx, client.RuleAddress, "192.0.2.0/24", 1_900_000_000_000, "") },
		func() error { return c.Revoke(ctx, "u2", 1_800_000_000_000) },
		func() error { return c.Unban(ctx, client.RuleUser, "u1") },
	} {
		if err := change(); err != nil {
			t.Errorf("rule %d: %v", i, err)
		}
	}
	rules, err := c.Rules(ctx, 0)
	if err != nil || !rules.Full || rules.Index != 4 || len(rules.Changes) != 2 {
		t.Fatalf("rules: %+v, %v", rules, err)
	}
	delta, err := c.Rules(ctx, 2)
	if err != nil || delta.Full || len(delta.Changes) != 2 {
		t.Fatalf("changed rules: %+v, %v", delta, err)
	}
	if r := delta.Changes[0]; r.Kind != client.RuleToken || r.Value != "u2" || r.Before != 1_800_000_000_000 || r.Removed {
		t.Errorf("revocation: %+v", r)
	}
	if r := delta.Changes[1]; r.Kind != client.RuleUser || !r.Removed || r.Index != 4 {
		t.Errorf("unban: %+v", r)
	}
	wrong := (*client.RequestError)(nil)
	if err := c.Ban(ctx, "ship", "x", 0, ""); !errors.As(err, &wrong) || wrong.Field != "kind" {
		t.Errorf("a wrong kind: %v", err)
	}
}
