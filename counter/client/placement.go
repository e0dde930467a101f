package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

// maxPlacements bounds the cache of rings; beyond it the cache starts anew.
const maxPlacements = 4096

// placement is what a sale has pinned; it never changes while the sale lives.
type placement struct {
	shards []string
	ring   *hashring.Ring
	dry    *dryReading
}

// dryReading is the first of two readings that find nothing available.
type dryReading struct {
	version int64
	ended   time.Time
}

// placements remembers where each sale's users belong.
type placements struct {
	mu   sync.RWMutex
	sale map[string]placement
}

func (p *placements) get(saleID string) (placement, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	at, ok := p.sale[saleID]
	return at, ok
}

func (p *placements) drop(saleID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sale, saleID)
}

// learn takes the placement from a sale's state.
func (p *placements) learn(info *sale.Info) (placement, error) {
	if at, ok := p.get(info.ID); ok && slices.Equal(at.shards, info.Shards) {
		return at, nil
	}
	ring, err := PinnedRing(info.Shards, info.Ring)
	if err != nil {
		return placement{}, err
	}
	at := placement{shards: info.Shards, ring: ring}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sale == nil || len(p.sale) >= maxPlacements {
		p.sale = make(map[string]placement)
	}
	p.sale[info.ID] = at
	return at, nil
}

// dryTwice notes a reading, and tells whether it confirms an earlier one that ended before this began.
func (p *placements) dryTwice(info *sale.Info, began, ended time.Time) bool {
	dry := info.Complete() && len(info.Parts) > 1 && info.Available == 0 && info.InTransfer() == 0
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.sale[info.ID]
	if !ok {
		return false
	}
	before := at.dry
	switch {
	case !dry:
		at.dry = nil
	case before == nil || before.version != info.SupplyVersion:
		at.dry = &dryReading{version: info.SupplyVersion, ended: ended}
	default:
		return began.After(before.ended)
	}
	p.sale[info.ID] = at
	return false
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
	at, ok := c.placed.get(saleID)
	if !ok {
		info, err := c.shardInfo(ctx, c.shards, saleID)
		if errors.Is(err, ErrNoSale) {
			return c.shards[0], nil
		}
		if err != nil {
			return nil, err
		}
		if at, err = c.placed.learn(&info); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	name := at.ring.Owner(user)
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

// shardInfo asks the shards for a sale and takes the first that knows it. Only when all have said that
// they do not is it unknown.
func (c *Client) shardInfo(ctx context.Context, shards []*shard, saleID string) (sale.Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		info sale.Info
		err  error
	}
	answers := make(chan answer, len(shards))
	for _, s := range shards {
		go func() { // ends with its call, which ctx ends
			info, err := s.info(ctx, saleID)
			answers <- answer{info, err}
		}()
	}
	var away error
	for range shards {
		switch a := <-answers; {
		case a.err == nil:
			return a.info, nil
		case !errors.Is(a.err, ErrNoSale):
			away = a.err
		}
	}
	if away != nil {
		return sale.Info{}, away
	}
	return sale.Info{}, ErrNoSale
}
