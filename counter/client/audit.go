package client

import (
	"context"
	"errors"
	"fmt"

	"headgate.example/lib/sale"
)

// auditLooks is how often Audit reads when more seems to be taken than given: the shards are read one
// beside the other, and units may move meanwhile.
const auditLooks = 5

// Audit fetches the sums that must balance, at one applied index of each shard; ErrNoSale when no
// shard knows the sale. It needs an answer of every shard: ErrUnavailable without.
func (c *Client) Audit(ctx context.Context, saleID string) (Audit, error) {
	var before Audit
	for look := 1; ; look++ {
		audit, err := c.auditOnce(ctx, saleID)
		if err != nil {
			return Audit{}, err
		}
		// What was taken by the last look was given by this one: only then it proves anything.
		if look > 1 && before.Total.Taken > audit.Total.Given {
			audit.Problems = append(audit.Problems, fmt.Sprintf("more units were taken (%d) than given (%d)", before.Total.Taken, audit.Total.Given))
			audit.Holds = false
			return audit, nil
		}
		if audit.InTransit >= 0 {
			return audit, nil
		}
		if look == auditLooks {
			audit.Unsettled = append(audit.Unsettled, "units move between the shards faster than they can be read")
			audit.InTransit = 0
			return audit, nil
		}
		before = audit
	}
}

func (c *Client) auditOnce(ctx context.Context, saleID string) (Audit, error) {
	audit := Audit{Sale: saleID}
	var violations []string
	var parts []ShardAudit
	var infos []sale.Info
	rows, errs := each(c.shards, func(s *shard) (*row, error) {
		message, err := s.do(ctx, operator, reads, "AUDIT", saleID)
		if err != nil {
			return nil, err
		}
		return readRow(message), nil
	})
	for i, s := range c.shards {
		if errors.Is(errs[i], errNil) {
			continue
		}
		if errs[i] != nil {
			return Audit{}, errs[i]
		}
		part, info, violation := readAudit(rows[i])
		if rows[i].err != nil {
			return Audit{}, rows[i].err
		}
		if part.Shard != s.Name {
			audit.Problems = append(audit.Problems, fmt.Sprintf("shard %s answers as %q", s.Name, part.Shard))
		}
		parts, infos, violations = append(parts, part), append(infos, info), append(violations, violation)
	}
	if len(parts) == 0 {
		return Audit{}, ErrNoSale
	}
	audit.Shards = parts
	audit.sum(infos, violations)
	for _, name := range infos[0].Shards {
		if c.byName[name] == nil {
			return Audit{}, silentError(saleID, []string{name})
		}
	}
	if missing := len(infos[0].Shards) - len(parts); missing > 0 {
		audit.Unsettled = append(audit.Unsettled, fmt.Sprintf("%d of its shards have not been told of the sale yet", missing))
	}
	audit.Holds = len(audit.Problems) == 0
	return audit, nil
}

// sum adds the shards up and holds them against each other.
func (a *Audit) sum(infos []sale.Info, violations []string) {
	same := true
	a.Revision = infos[0].Revision
	for i := range infos {
		part := &a.Shards[i]
		if violations[i] != "" {
			a.Problems = append(a.Problems, fmt.Sprintf("shard %s: %s", part.Shard, violations[i]))
		}
		a.Total.add(&part.Terms)
		same = same && infos[i].Revision == a.Revision
		a.Revision = min(a.Revision, infos[i].Revision)
		a.Total.Stock = infos[i].Stock
	}
	t := &a.Total
	switch whole := len(infos) == len(infos[0].Shards); {
	case !same:
		a.Unsettled = append(a.Unsettled, "the shards are at different revisions: a change is on its way")
	case whole && t.Alloc != t.Stock+t.Debt:
		a.Problems = append(a.Problems, fmt.Sprintf("sum of alloc %d is not stock %d + debt %d", t.Alloc, t.Stock, t.Debt))
	}
	a.InTransit = t.Given - t.Taken
}

func readAudit(r *row) (ShardAudit, sale.Info, string) {
	info := readInfo(r)
	terms := AuditTerms{
		Stock: info.Stock, Alloc: info.Alloc, Taken: info.Taken, Given: info.Given, Scheduled: info.Scheduled,
		Available: info.Available, Held: info.Held, Confirmed: info.Confirmed, Debt: info.Debt,
		HeldOrders: r.number("held_orders"), ConfirmedOrders: r.number("confirmed_orders"), ExcessOrders: r.number("excess_orders"),
	}
	violation := r.text("violation")
	if violation == "" {
		violation = terms.violation()
	}
	part := ShardAudit{Shard: r.text("shard"), Index: uint64(r.number("index")), Holds: violation == "", Terms: terms}
	return part, info, violation
}

// violation checks the shard's sums again, on this side of the wire.
func (t *AuditTerms) violation() string {
	have, want := t.Scheduled+t.Available+t.Held+t.Confirmed, t.Alloc+t.Taken-t.Given
	if have != want {
		return fmt.Sprintf("scheduled + available + held + confirmed is %d, alloc + taken - given is %d", have, want)
	}
	for _, n := range []int64{t.Scheduled, t.Available, t.Held, t.Confirmed, t.Alloc, t.Taken, t.Given, t.Debt} {
		if n < 0 {
			return fmt.Sprintf("a term is negative: %d", n)
		}
	}
	return ""
}

func (t *AuditTerms) add(o *AuditTerms) {
	t.Alloc += o.Alloc
	t.Taken += o.Taken
	t.Given += o.Given
	t.Scheduled += o.Scheduled
	t.Available += o.Available
	t.Held += o.Held
	t.Confirmed += o.Confirmed
	t.Debt += o.Debt
	t.HeldOrders += o.HeldOrders
	t.ConfirmedOrders += o.ConfirmedOrders
	t.ExcessOrders += o.ExcessOrders
}
