package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.example/lib/sale"
)

// partWait bounds the wait for one of several shards in SaleInfo and SaleList: who does not answer by
// then is reported as silent, so that the others' figures stay fresh.
const partWait = 750 * time.Millisecond

// each runs do for every shard at once and waits for all; the results have the order of the shards.
func each[T any](shards []*shard, do func(*shard) (T, error)) ([]T, []error) {
	results, errs := make([]T, len(shards)), make([]error, len(shards))
	if len(shards) == 1 {
		results[0], errs[0] = do(shards[0])
		return results, errs
	}
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() { results[i], errs[i] = do(s) })
	}
	all.Wait()
	return results, errs
}

// forPart shortens the wait for one shard among several.
func (c *Client) forPart(ctx context.Context) (context.Context, context.CancelFunc) {
	if len(c.shards) == 1 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, partWait)
}

// SaleInfo is the sale's state, summed over its shards; ErrNoSale when unknown. The revision is the
// lowest of them: 0 while a shard has not been told of the sale. Shards that do not answer are named in
// Silent; with none that does it is an error.
func (c *Client) SaleInfo(ctx context.Context, saleID string) (sale.Info, error) {
	began := time.Now()
	part, cancel := c.forPart(ctx)
	defer cancel()
	infos, errs := each(c.shards, func(s *shard) (sale.Info, error) { return s.info(part, saleID) })
	if err := ctx.Err(); err != nil && len(c.shards) > 1 {
		return sale.Info{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	found := make(map[string]sale.Info, len(infos))
	silent := make(map[string]error)
	for i, s := range c.shards {
		switch err := errs[i]; {
		case err == nil:
			found[s.Name] = infos[i]
		case !errors.Is(err, ErrNoSale):
			silent[s.Name] = err
		}
	}
	if len(found) == 0 {
		for _, s := range c.shards {
			if err := silent[s.Name]; err != nil {
				return sale.Info{}, err // perhaps that one knows it
			}
		}
		return sale.Info{}, ErrNoSale
	}
	return c.total(began, found, func(name string) bool { return silent[name] != nil }), nil
}

// SaleList is SaleInfo of every sale that an answering shard knows, by id.
func (c *Client) SaleList(ctx context.Context) ([]sale.Info, error) {
	began := time.Now()
	part, cancel := c.forPart(ctx)
	defer cancel()
	lists, errs := each(c.shards, func(s *shard) ([]sale.Info, error) { return s.list(part) })
	found := make(map[string]map[string]sale.Info)
	silent := make(map[string]bool)
	for i, s := range c.shards {
		if errs[i] != nil {
			silent[s.Name] = true
			continue
		}
		for _, info := range lists[i] {
			if found[info.ID] == nil {
				found[info.ID] = make(map[string]sale.Info, len(c.shards))
			}
			found[info.ID][s.Name] = info
		}
	}
	if len(silent) == len(c.shards) {
		return nil, errs[0]
	}
	list := make([]sale.Info, 0, len(found))
	for _, parts := range found {
		list = append(list, c.total(began, parts, func(name string) bool { return silent[name] }))
	}
	slices.SortFunc(list, func(a, b sale.Info) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func (s *shard) list(ctx context.Context) ([]sale.Info, error) {
	message, err := s.do(ctx, buyer, reads, "SALE.LIST")
	if err != nil {
		return nil, err
	}
	rows, err := readArray(message, maxRows)
	if err != nil {
		return nil, err
	}
	list := make([]sale.Info, 0, len(rows))
	for _, m := range rows {
		r := readRow(m)
		info := readInfo(r)
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, info)
	}
	return list, nil
}

// total sums a sale's parts, of which there is at least one. The sale is paused, closed and revised as
// its least advanced shard is: while they differ, a change is on its way. A shard that is not in the
// config is silent, too; one that answers and does not know the sale is at revision 0, paused.
func (c *Client) total(began time.Time, found map[string]sale.Info, silent func(shard string) bool) sale.Info {
	sum := sale.Info{}
	for _, s := range c.shards {
		if info, ok := found[s.Name]; ok && info.Revision >= sum.Revision {
			sum = info // the most advanced answer tells the terms
		}
	}
	names := sum.Shards
	sum.Alloc, sum.Taken, sum.Given, sum.Scheduled, sum.Available, sum.Held, sum.Confirmed, sum.Debt = 0, 0, 0, 0, 0, 0, 0, 0
	sum.ReleasedTotal, sum.ExpiredTotal, sum.SupplyVersion, sum.NextReleaseAt, sum.Now = 0, 0, 0, 0, 0
	sum.Forgotten, sum.Closed = true, true
	for _, name := range names {
		p, ok := found[name]
		switch {
		case ok:
			addPart(&sum, &p)
			sum.Parts = append(sum.Parts, sale.Part{Shard: name, Info: p})
		case c.byName[name] == nil || silent(name):
			sum.Silent = append(sum.Silent, name)
		default:
			sum.Revision, sum.Paused, sum.Closed, sum.Forgotten = 0, true, false, false
		}
	}
	if len(c.shards) > 1 {
		c.heard(&sum, began)
	}
	return sum
}

// heard remembers what a sale's state tells, which was read from began on.
func (c *Client) heard(info *sale.Info, began time.Time) {
	if _, err := c.placed.learn(info); err != nil {
		return // a ring that cannot be made is reported to whoever needs it
	}
	if info.Complete() {
		c.away.heard(info.ID, info.Shards)
	}
	info.Twice = c.placed.dryTwice(info, began, time.Now())
}

// addPart adds one shard's figures to a sum.
func addPart(sum, p *sale.Info) {
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

// silentError is the reason for not doing something that needs every shard.
func silentError(saleID string, silent []string) error {
	return fmt.Errorf("%w: sale %s: no answer from shard %s", ErrUnavailable, saleID, strings.Join(silent, ", "))
}
