package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"headgate.example/lib/sale"
)

// The operator's changes of a sale go to all its shards at once; each is repeated safely, since the same
// revision with the same content is accepted again, and a shard that is past the revision has made the
// change already. nil means that every shard has it. Errors are *ConflictError, *RequestError, ErrNoSale
// and the errors of every call; after one, some shards may have made the change.

// OpenSale makes the sale known on all its shards, paused.
func (c *Client) OpenSale(ctx context.Context, terms sale.Terms) error {
	text, err := json.Marshal(terms)
	if err != nil {
		return &RequestError{Field: "terms", Reason: err.Error()}
	}
	shards, err := c.named("shards", terms.Shards)
	if err != nil {
		return err
	}
	c.placed.drop(terms.ID)
	return tellAll(ctx, shards, terms.Revision, "SALE.OPEN", string(text))
}

// named finds the shards that terms name; there must be one at least.
func (c *Client) named(field string, names []string) ([]*shard, error) {
	if len(names) == 0 {
		return nil, &RequestError{Field: field, Reason: "must name at least one shard"}
	}
	shards := make([]*shard, len(names))
	for i, name := range names {
		if shards[i] = c.byName[name]; shards[i] == nil {
			return nil, &RequestError{Field: field, Reason: fmt.Sprintf("%q is not a shard of this client's config", name)}
		}
	}
	return shards, nil
}

// tellAll sends a change to every shard. Of several errors the gravest counts: one that only an operator
// can mend, then one that may have happened, then the others.
func tellAll(ctx context.Context, shards []*shard, revision int64, command ...string) error {
	_, errs := each(shards, func(s *shard) (struct{}, error) { return struct{}{}, s.ok(ctx, command...) })
	if len(shards) == 1 {
		return errs[0]
	}
	var worst error
	for i, err := range errs {
		var conflict *ConflictError
		if errors.As(err, &conflict) && conflict.Revision > revision {
			continue // it is past this change
		}
		if err != nil && (worst == nil || gravity(err) > gravity(worst)) {
			worst = fmt.Errorf("shard %s: %w", shards[i].Name, err)
		}
	}
	return worst
}

func gravity(err error) int {
	var conflict *ConflictError
	var request *RequestError
	switch {
	case errors.As(err, &conflict), errors.As(err, &request), errors.Is(err, ErrForbidden):
		return 2
	case errors.Is(err, ErrUnknown):
		return 1
	}
	return 0
}

// PauseSale stops selling until ResumeSale.
func (c *Client) PauseSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, "SALE.PAUSE", id, revision)
}

// ResumeSale sells again.
func (c *Client) ResumeSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, "SALE.RESUME", id, revision)
}

// CloseSale ends the sale for good.
func (c *Client) CloseSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, "SALE.CLOSE", id, revision)
}

// ForgetSale drops a closed sale's holds and keeps its totals.
func (c *Client) ForgetSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, "SALE.FORGET", id, revision)
}

// SetStock changes the sale's stock to total units over all shards. A cut needs the sale paused.
func (c *Client) SetStock(ctx context.Context, id string, revision, total int64) error {
	return c.changeSale(ctx, "SALE.STOCK", id, revision, strconv.FormatInt(total, 10))
}

// changeSale sends a change to each shard of the sale.
func (c *Client) changeSale(ctx context.Context, command, id string, revision int64, more ...string) error {
	shards := c.shards
	if len(c.shards) > 1 {
		info, err := c.shardInfo(ctx, c.shards, id)
		if err != nil {
			return err
		}
		if shards, err = c.named("shards", info.Shards); err != nil {
			return fmt.Errorf("%w: sale %s: %v", ErrUnavailable, id, err)
		}
	}
	return tellAll(ctx, shards, revision, append([]string{command, id, strconv.FormatInt(revision, 10)}, more...)...)
}

// RestoreSale rebuilds a sale of one shard that the counter lost; text is SALE.RESTORE's JSON. A sale of
// several is restored shard by shard, see RestoreShard.
func (c *Client) RestoreSale(ctx context.Context, text []byte) error {
	var named struct {
		Terms struct {
			Shards []string `json:"shards"`
		} `json:"terms"`
	}
	if err := json.Unmarshal(text, &named); err != nil {
		return &RequestError{Field: "json", Reason: err.Error()}
	}
	if len(named.Terms.Shards) > 1 {
		return &RequestError{Field: "terms.shards", Reason: "the sale has several shards, each with orders and transfers of its own: restore the one that lost it"}
	}
	shards, err := c.named("terms.shards", named.Terms.Shards)
	if err != nil {
		return err
	}
	return shards[0].ok(ctx, "SALE.RESTORE", string(text))
}

// RestoreShard rebuilds one shard's part of a sale; text is SALE.RESTORE's JSON with the orders of that
// shard, and with the transfers as its peers count them.
func (c *Client) RestoreShard(ctx context.Context, shard string, text []byte) error {
	shards, err := c.named("shard", []string{shard})
	if err != nil {
		return err
	}
	return shards[0].ok(ctx, "SALE.RESTORE", string(text))
}

// Ban refuses a user or an address (RuleUser, RuleAddress) until a wall-clock millisecond; 0 means for
// good.
func (c *Client) Ban(ctx context.Context, kind, value string, untilMillis int64, reason string) error {
	return c.shards[0].ok(ctx, "BAN", kind, value, strconv.FormatInt(untilMillis, 10), reason)
}

// Unban takes a rule of any kind back. Without one it does nothing.
func (c *Client) Unban(ctx context.Context, kind, value string) error {
	return c.shards[0].ok(ctx, "UNBAN", kind, value)
}

// Revoke voids the user's tokens issued before a wall-clock millisecond.
func (c *Client) Revoke(ctx context.Context, user string, beforeMillis int64) error {
	return c.shards[0].ok(ctx, "REVOKE", user, strconv.FormatInt(beforeMillis, 10))
}

// ok sends an operator's command that answers OK.
func (s *shard) ok(ctx context.Context, command ...string) error {
	message, err := s.do(ctx, operator, changes, command...)
	if err != nil {
		return err
	}
	_, err = oneOf(message, "OK")
	return err
}
