package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"headgate.example/lib/sale"
)

// The operator's changes of a sale go to all its shards; each is repeated safely, since the same
// revision with the same content is accepted again. Errors are *ConflictError, *RequestError,
// ErrNoSale and the errors of every call; after one, some shards may have made the change.

// OpenSale makes the sale known on all its shards, paused.
func (c *Client) OpenSale(ctx context.Context, terms sale.Terms) error {
	text, err := json.Marshal(terms)
	if err != nil {
		return &RequestError{Field: "terms", Reason: err.Error()}
	}
	for _, name := range terms.Shards {
		s := c.byName[name]
		if s == nil {
			return &RequestError{Field: "shards", Reason: fmt.Sprintf("%q is not a shard of this client's config", name)}
		}
		if err := s.ok(ctx, "SALE.OPEN", string(text)); err != nil {
			return err
		}
	}
	if len(terms.Shards) == 0 {
		return &RequestError{Field: "shards", Reason: "must name at least one shard"}
	}
	c.placed.drop(terms.ID)
	return nil
}

// PauseSale stops selling until ResumeSale.
func (c *Client) PauseSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, id, "SALE.PAUSE", id, strconv.FormatInt(revision, 10))
}

// ResumeSale sells again.
func (c *Client) ResumeSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, id, "SALE.RESUME", id, strconv.FormatInt(revision, 10))
}

// CloseSale ends the sale for good.
func (c *Client) CloseSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, id, "SALE.CLOSE", id, strconv.FormatInt(revision, 10))
}

// ForgetSale drops a closed sale's holds and keeps its totals.
func (c *Client) ForgetSale(ctx context.Context, id string, revision int64) error {
	return c.changeSale(ctx, id, "SALE.FORGET", id, strconv.FormatInt(revision, 10))
}

// SetStock changes the sale's stock to total units over all shards. A cut needs the sale paused.
func (c *Client) SetStock(ctx context.Context, id string, revision, total int64) error {
	return c.changeSale(ctx, id, "SALE.STOCK", id, strconv.FormatInt(revision, 10), strconv.FormatInt(total, 10))
}

// changeSale sends a change to each shard of the sale.
func (c *Client) changeSale(ctx context.Context, id string, command ...string) error {
	shards := c.shards
	if len(c.shards) > 1 {
		info, err := c.shardInfo(ctx, c.shards, id)
		if err != nil {
			return err
		}
		shards = nil
		for _, name := range info.Shards {
			s := c.byName[name]
			if s == nil {
				return fmt.Errorf("%w: sale %s lives on shard %s, which the config does not list", ErrUnavailable, id, name)
			}
			shards = append(shards, s)
		}
	}
	for _, s := range shards {
		if err := s.ok(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

// RestoreSale rebuilds a sale that the counter lost; text is SALE.RESTORE's JSON. It goes to each shard
// that the terms in it name.
func (c *Client) RestoreSale(ctx context.Context, text []byte) error {
	var named struct {
		Terms struct {
			ID     string   `json:"id"`
			Shards []string `json:"shards"`
		} `json:"terms"`
	}
	if err := json.Unmarshal(text, &named); err != nil {
		return &RequestError{Field: "json", Reason: err.Error()}
	}
	if len(named.Terms.Shards) == 0 {
		return &RequestError{Field: "terms.shards", Reason: "must name at least one shard"}
	}
	for _, name := range named.Terms.Shards {
		s := c.byName[name]
		if s == nil {
			return &RequestError{Field: "terms.shards", Reason: fmt.Sprintf("%q is not a shard of this client's config", name)}
		}
		if err := s.ok(ctx, "SALE.RESTORE", string(text)); err != nil {
			return err
		}
	}
	c.placed.drop(named.Terms.ID)
	return nil
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
