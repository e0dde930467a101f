package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

// maxPlacements bounds the cache of rings; beyond it the cache starts anew.
const maxPlacements = 4096

// placements remembers the ring that each sale has pinned; it never changes while the sale lives.
type placements struct {
	mu    sync.RWMutex
	rings map[string]*hashring.Ring
}

func (p *placements) get(saleID string) *hashring.Ring {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.rings[saleID]
}

func (p *placements) put(saleID string, ring *hashring.Ring) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rings == nil || len(p.rings) >= maxPlacements {
		p.rings = make(map[string]*hashring.Ring)
	}
	p.rings[saleID] = ring
}

func (p *placements) drop(saleID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rings, saleID)
}

// PinnedRing is the ring that spreads a sale's users over its shards.
func PinnedRing(shards []string, ring sale.Ring) (*hashring.Ring, error) {
	r, err := hashring.New(shards, hashring.Params{Partitions: ring.Partitions, Replicas: ring.Replicas, Load: ring.Load})
	if err != nil {
		return nil, fmt.Errorf("the sale's ring: %w", err)
	}
	return r, nil
}

// shardOfUser finds the shard that serves a user of a sale. With one shard there is nothing to look up.
// For a sale that nobody knows it is the first shard, which will say so.
func (c *Client) shardOfUser(ctx context.Context, saleID, user string) (*shard, error) {
	if len(c.shards) == 1 {
		return c.shards[0], nil
	}
	ring := c.placed.get(saleID)
	if ring == nil {
		info, err := c.shardInfo(ctx, c.shards, saleID)
		if errors.Is(err, ErrNoSale) {
			return c.shards[0], nil
		}
		if err != nil {
			return nil, err
		}
		if ring, err = PinnedRing(info.Shards, info.Ring); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		c.placed.put(saleID, ring)
	}
	name := ring.Owner(user)
	if s := c.byName[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: sale %s lives on shard %s, which the config does not list", ErrUnavailable, saleID, name)
}

// shardOfOrder finds the shard that minted an id.
func (c *Client) shardOfOrder(id sale.OrderID) (*shard, error) {
	if id <= 0 {
		return nil, &RequestError{Field: "order", Reason: "must be an order id"}
	}
	if s := c.byNumber[id.Shard()]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: order %s was minted by shard number %d, which the config does not list", ErrUnavailable, id, id.Shard())
}

// shardInfo asks one shard after the other until one knows the sale. Only when all have said that they
// do not is it unknown.
func (c *Client) shardInfo(ctx context.Context, shards []*shard, saleID string) (sale.Info, error) {
	var away error
	for _, s := range shards {
		info, err := s.info(ctx, saleID)
		switch {
		case err == nil:
			return info, nil
		case !errors.Is(err, ErrNoSale):
			away = err
		}
	}
	if away != nil {
		return sale.Info{}, away
	}
	return sale.Info{}, ErrNoSale
}
