package client

import (
	"context"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// Client speaks to all shards of the counter. Make one with Open; it is safe for concurrent use.
type Client struct {
	cfg Config
}

// Option changes a Client for tests.
type Option func(*Client)

// Open checks cfg and returns a client. It connects when first used: the counter may be away.
func Open(cfg Config, opts ...Option) (*Client, error) {
	var p config.Problems
	cfg.Validate(&p)
	if err := p.Err(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Close ends all connections. Calls under way fail.
func (c *Client) Close() {}

// Reserve asks for a hold of quantity units for the user, under the request key (may be empty).
func (c *Client) Reserve(ctx context.Context, saleID, user string, quantity int64, key string) (Reservation, error) {
	return Reservation{}, ErrUnavailable
}

// Confirm confirms holds and answers a code for each id, in order. A shard that did not answer gives
// ConfirmUnavailable for its ids; an error comes only of misuse or an ended context.
func (c *Client) Confirm(ctx context.Context, ids ...sale.OrderID) ([]ConfirmCode, error) {
	return nil, ErrUnavailable
}

// Abort gives a hold back that the upstream certainly did not take.
func (c *Client) Abort(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	return "", ErrUnavailable
}

// Release gives the units of a confirmed order back. Only the owner of the ledger calls it, after its
// own commit.
func (c *Client) Release(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	return "", ErrUnavailable
}

// Order looks one id up; ErrNoOrder when its shard does not know it.
func (c *Client) Order(ctx context.Context, id sale.OrderID) (Hold, error) {
	return Hold{}, ErrUnavailable
}

// UserOrders lists the holds of one user in one sale, by ascending id.
func (c *Client) UserOrders(ctx context.Context, saleID, user string) ([]Hold, error) {
	return nil, ErrUnavailable
}

// Holds lists holds of a sale in one state, by ascending id, after the given id (0: from the first).
func (c *Client) Holds(ctx context.Context, saleID string, state sale.HoldState, after sale.OrderID, limit int) ([]Hold, error) {
	return nil, ErrUnavailable
}

// SaleInfo is the sale's state, summed over its shards; ErrNoSale when unknown.
func (c *Client) SaleInfo(ctx context.Context, saleID string) (sale.Info, error) {
	return sale.Info{}, ErrUnavailable
}

// SaleList is SaleInfo of every sale, by id.
func (c *Client) SaleList(ctx context.Context) ([]sale.Info, error) { return nil, ErrUnavailable }

// OpenSale makes the sale known on all its shards, paused.
func (c *Client) OpenSale(ctx context.Context, terms sale.Terms) error { return ErrUnavailable }

// PauseSale stops selling until ResumeSale.
func (c *Client) PauseSale(ctx context.Context, id string, revision int64) error {
	return ErrUnavailable
}

// ResumeSale sells again.
func (c *Client) ResumeSale(ctx context.Context, id string, revision int64) error {
	return ErrUnavailable
}

// CloseSale ends the sale for good.
func (c *Client) CloseSale(ctx context.Context, id string, revision int64) error {
	return ErrUnavailable
}

// ForgetSale drops a closed sale's holds and keeps its totals.
func (c *Client) ForgetSale(ctx context.Context, id string, revision int64) error {
	return ErrUnavailable
}

// SetStock changes the sale's stock to total units.
func (c *Client) SetStock(ctx context.Context, id string, revision, total int64) error {
	return ErrUnavailable
}

// RestoreSale rebuilds a sale that the counter lost; json is SALE.RESTORE's argument.
func (c *Client) RestoreSale(ctx context.Context, json []byte) error { return ErrUnavailable }

// Ban refuses a user or an address until a wall-clock millisecond; 0 means for good.
func (c *Client) Ban(ctx context.Context, kind, value string, untilMillis int64, reason string) error {
	return ErrUnavailable
}

// Unban takes a ban back.
func (c *Client) Unban(ctx context.Context, kind, value string) error { return ErrUnavailable }

// Revoke voids the user's tokens issued before a wall-clock millisecond.
func (c *Client) Revoke(ctx context.Context, user string, beforeMillis int64) error {
	return ErrUnavailable
}

// Rules fetches bans and revocations that changed after since; 0 asks for all.
func (c *Client) Rules(ctx context.Context, since int64) (Rules, error) {
	return Rules{}, ErrUnavailable
}

// Audit fetches the sums that must balance.
func (c *Client) Audit(ctx context.Context, saleID string) (Audit, error) {
	return Audit{}, ErrUnavailable
}
