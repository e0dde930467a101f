package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"headgate.example/lib/sale"
)

// Order looks one id up; ErrNoOrder when its shard does not know it.
func (c *Client) Order(ctx context.Context, id sale.OrderID) (Hold, error) {
	s, err := c.shardOfOrder(id)
	if err != nil {
		return Hold{}, err
	}
	message, err := s.do(ctx, buyer, reads, "ORDER", id.String())
	if errors.Is(err, errNil) {
		return Hold{}, ErrNoOrder
	}
	if err != nil {
		return Hold{}, err
	}
	h, err := readHold(message)
	if err == nil && h.Order != id {
		return Hold{}, malformed("order %s when asked for %s", h.Order, id)
	}
	return h, err
}

// UserOrders lists the live orders of one user in one sale and the latest finished ones, by ascending
// id; ErrNoSale when the sale is unknown.
func (c *Client) UserOrders(ctx context.Context, saleID, user string) ([]Hold, error) {
	s, err := c.shardOfUser(ctx, saleID, user)
	if err != nil {
		return nil, err
	}
	holds, err := s.holds(ctx, buyer, "USER", saleID, user)
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Compare(a.Order, b.Order) })
	return holds, err
}

// MaxHolds is the longest page of Holds.
const MaxHolds = 10_000

// Holds lists holds of a sale in one state, by ascending id, after the given id (0: from the first), at
// most limit (1 to MaxHolds); ErrNoSale when the sale is unknown.
func (c *Client) Holds(ctx context.Context, saleID string, state sale.HoldState, after sale.OrderID, limit int) ([]Hold, error) {
	if limit < 1 || limit > MaxHolds {
		return nil, &RequestError{Field: "limit", Reason: fmt.Sprintf("must be 1 to %d, is %d", MaxHolds, limit)}
	}
	var all []Hold
	missing := 0
	for _, s := range c.shards {
		page, err := s.holds(ctx, operator, "HOLDS", saleID, state.String(), strconv.FormatInt(int64(after), 10), strconv.Itoa(limit))
		if errors.Is(err, ErrNoSale) {
			missing++
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
	}
	if missing == len(c.shards) {
		return nil, ErrNoSale
	}
	slices.SortFunc(all, func(a, b Hold) int { return cmp.Compare(a.Order, b.Order) })
	return all[:min(limit, len(all))], nil
}

func (s *shard) holds(ctx context.Context, r role, command ...string) ([]Hold, error) {
	message, err := s.do(ctx, r, reads, command...)
	if errors.Is(err, errNil) {
		return nil, ErrNoSale
	}
	if err != nil {
		return nil, err
	}
	return readHolds(message)
}

func (s *shard) info(ctx context.Context, saleID string) (sale.Info, error) {
	message, err := s.do(ctx, buyer, reads, "SALE.INFO", saleID)
	if errors.Is(err, errNil) {
		return sale.Info{}, ErrNoSale
	}
	if err != nil {
		return sale.Info{}, err
	}
	r := readRow(message)
	info := readInfo(r)
	return info, r.err
}

// SaleInfo is the sale's state, summed over its shards; ErrNoSale when unknown.
func (c *Client) SaleInfo(ctx context.Context, saleID string) (sale.Info, error) {
	sum, err := c.shardInfo(ctx, c.shards, saleID)
	if err != nil || len(sum.Shards) <= 1 {
		return sum, err
	}
	parts := make([]sale.Info, 0, len(sum.Shards))
	for _, name := range sum.Shards {
		s := c.byName[name]
		if s == nil {
			return sale.Info{}, fmt.Errorf("%w: sale %s lives on shard %s, which the config does not list", ErrUnavailable, saleID, name)
		}
		info, err := s.info(ctx, saleID)
		if err != nil {
			return sale.Info{}, err
		}
		parts = append(parts, info)
	}
	return total(parts), nil
}

// SaleList is SaleInfo of every sale, by id.
func (c *Client) SaleList(ctx context.Context) ([]sale.Info, error) {
	byID := make(map[string][]sale.Info)
	for _, s := range c.shards {
		message, err := s.do(ctx, buyer, reads, "SALE.LIST")
		if err != nil {
			return nil, err
		}
		rows, err := readArray(message, maxRows)
		if err != nil {
			return nil, err
		}
		for _, m := range rows {
			r := readRow(m)
			info := readInfo(r)
			if r.err != nil {
				return nil, r.err
			}
			byID[info.ID] = append(byID[info.ID], info)
		}
	}
	list := make([]sale.Info, 0, len(byID))
	for _, parts := range byID {
		list = append(list, total(parts))
	}
	slices.SortFunc(list, func(a, b sale.Info) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// total sums a sale's parts. The sale is paused, closed and revised as its least advanced shard is:
// while they differ, a change is on its way.
func total(parts []sale.Info) sale.Info {
	sum := parts[0]
	for _, p := range parts[1:] {
		sum.Revision = min(sum.Revision, p.Revision)
		sum.Paused = sum.Paused || p.Paused
		sum.Closed = sum.Closed && p.Closed
		sum.Forgotten = sum.Forgotten && p.Forgotten
		if p.NextReleaseAt != 0 && (sum.NextReleaseAt == 0 || p.NextReleaseAt < sum.NextReleaseAt) {
			sum.NextReleaseAt = p.NextReleaseAt
		}
		sum.Alloc += p.Alloc
		sum.Taken += p.Taken
		sum.Given += p.Given
		sum.Scheduled += p.Scheduled
		sum.Available += p.Available
		sum.Held += p.Held
		sum.Confirmed += p.Confirmed
		sum.Debt += p.Debt
		sum.ReleasedTotal += p.ReleasedTotal
		sum.ExpiredTotal += p.ExpiredTotal
		sum.SupplyVersion += p.SupplyVersion
		sum.Now = max(sum.Now, p.Now)
	}
	return sum
}

// Rules fetches bans and revocations that changed after since; 0 asks for all.
func (c *Client) Rules(ctx context.Context, since int64) (Rules, error) {
	message, err := c.shards[0].do(ctx, buyer, reads, "RULES", strconv.FormatInt(since, 10))
	if err != nil {
		return Rules{}, err
	}
	return readRules(message)
}

// Audit fetches the sums that must balance, at one applied index of each shard; ErrNoSale when no
// shard knows the sale.
func (c *Client) Audit(ctx context.Context, saleID string) (Audit, error) {
	audit := Audit{Sale: saleID}
	var debt int64
	for _, s := range c.shards {
		message, err := s.do(ctx, operator, reads, "AUDIT", saleID)
		if errors.Is(err, errNil) {
			continue
		}
		if err != nil {
			return Audit{}, err
		}
		r := readRow(message)
		part, info, violation := readAudit(r)
		if r.err != nil {
			return Audit{}, r.err
		}
		if part.Shard != s.Name {
			audit.Problems = append(audit.Problems, fmt.Sprintf("shard %s answers as %q", s.Name, part.Shard))
		}
		if violation != "" {
			audit.Problems = append(audit.Problems, fmt.Sprintf("shard %s: %s", s.Name, violation))
		}
		audit.Shards = append(audit.Shards, part)
		audit.Total.add(&part.Terms)
		audit.Total.Stock, audit.Revision = info.Stock, info.Revision
		debt += part.Terms.Debt
	}
	if len(audit.Shards) == 0 {
		return Audit{}, ErrNoSale
	}
	if t := &audit.Total; t.Alloc != t.Stock+debt {
		audit.Problems = append(audit.Problems, fmt.Sprintf("sum of alloc %d is not stock %d + debt %d", t.Alloc, t.Stock, debt))
	}
	if audit.InTransit = audit.Total.Given - audit.Total.Taken; audit.InTransit < 0 {
		audit.Problems = append(audit.Problems, fmt.Sprintf("more units were taken (%d) than given (%d)", audit.Total.Taken, audit.Total.Given))
	}
	audit.Holds = len(audit.Problems) == 0
	return audit, nil
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
