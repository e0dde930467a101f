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
	pages, errs := each(c.shards, func(s *shard) ([]Hold, error) {
		return s.holds(ctx, operator, "HOLDS", saleID, state.String(), strconv.FormatInt(int64(after), 10), strconv.Itoa(limit))
	})
	var all []Hold
	missing := 0
	for i, page := range pages {
		switch err := errs[i]; {
		case errors.Is(err, ErrNoSale):
			missing++
		case err != nil:
			return nil, err // a page without one shard's would look complete
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

// Rules fetches bans and revocations that changed after since; 0 asks for all.
func (c *Client) Rules(ctx context.Context, since int64) (Rules, error) {
	message, err := c.shards[0].do(ctx, buyer, reads, "RULES", strconv.FormatInt(since, 10))
	if err != nil {
		return Rules{}, err
	}
	return readRules(message)
}
