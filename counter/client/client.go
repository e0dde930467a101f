package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// MaxConfirm is how many ids one Confirm may name.
const MaxConfirm = 100_000

// confirmChunk is how many ids go into one CONFIRM.
const confirmChunk = 1000

// Client speaks to all shards of the counter. Make one with Open; it is safe for concurrent use.
type Client struct {
	cfg      Config
	base     context.Context
	cancel   context.CancelFunc
	dial     dialFunc
	shards   []*shard
	byName   map[string]*shard
	byNumber map[int]*shard
	placed   placements
	away     marks
}

// Option changes a Client.
type Option func(*Client)

// Open checks cfg and returns a client. It connects when first used: the counter may be away.
func Open(cfg Config, opts ...Option) (*Client, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, dial: dialTCP, byName: make(map[string]*shard), byNumber: make(map[int]*shard)}
	c.away.now = time.Now
	c.base, c.cancel = context.WithCancel(context.Background())
	for _, o := range opts {
		o(c)
	}
	for _, each := range cfg.Shards {
		s := newShard(c.base, &c.cfg, c.dial, each)
		c.shards = append(c.shards, s)
		c.byName[each.Name], c.byNumber[each.Number] = s, s
	}
	return c, nil
}

// Close ends all connections. Calls under way fail.
func (c *Client) Close() {
	c.cancel()
	for _, s := range c.shards {
		s.close()
	}
}

// Reserve asks for a hold of quantity units for the user, under the request key (may be empty). After a
// lost connection it asks again with the same key, which answers CodeAlready if the first one counted.
// While the user's shard of a sale with several is known not to decide, it is *AwayError at once.
func (c *Client) Reserve(ctx context.Context, saleID, user string, quantity int64, key string) (Reservation, error) {
	for second := false; ; second = true {
		s, err := c.shardOfUser(ctx, saleID, user)
		if err != nil {
			return Reservation{}, err
		}
		r, err := c.reserveAt(ctx, s, saleID, user, quantity, key)
		wrong := (*wrongShardError)(nil)
		if !errors.As(err, &wrong) {
			return r, err
		}
		c.placed.drop(saleID) // the sale was opened anew on other shards
		if second || len(c.shards) == 1 {
			return Reservation{}, err
		}
	}
}

func (c *Client) reserveAt(ctx context.Context, s *shard, saleID, user string, quantity int64, key string) (Reservation, error) {
	ask := func() (rueidis.RedisMessage, error) {
		return s.do(ctx, buyer, changes, "RESERVE", saleID, user, strconv.FormatInt(quantity, 10), key)
	}
	var message rueidis.RedisMessage
	var err error
	if at, ok := c.placed.get(saleID); ok && len(at.shards) > 1 {
		message, err = c.away.guard(ctx, saleID, s.Name, ask)
	} else {
		message, err = ask()
	}
	if err != nil {
		return Reservation{}, err
	}
	return readReservation(message)
}

// Confirm confirms holds and answers a code for each id, in order. A shard that did not answer gives
// ConfirmUnavailable for its ids; an error comes only of misuse or an ended context.
func (c *Client) Confirm(ctx context.Context, ids ...sale.OrderID) ([]ConfirmCode, error) {
	if len(ids) > MaxConfirm {
		return nil, &RequestError{Field: "order", Reason: fmt.Sprintf("at most %d ids, are %d", MaxConfirm, len(ids))}
	}
	codes := make([]ConfirmCode, len(ids))
	places := make(map[*shard][]int)
	for i, id := range ids {
		codes[i] = ConfirmUnavailable
		s, err := c.shardOfOrder(id)
		if wrong := (*RequestError)(nil); errors.As(err, &wrong) {
			return nil, err
		}
		if err == nil {
			places[s] = append(places[s], i)
		}
	}
	var waiting sync.WaitGroup
	for s, mine := range places {
		waiting.Go(func() {
			for len(mine) > 0 {
				n := min(len(mine), confirmChunk)
				s.confirm(ctx, ids, mine[:n], codes) // what fails stays unavailable
				mine = mine[n:]
			}
		})
	}
	waiting.Wait()
	if err := ctx.Err(); err != nil {
		return codes, fmt.Errorf("confirming %d orders: %w", len(ids), err)
	}
	return codes, nil
}

// confirm asks for the ids at some places and fills in their codes. Places of different shards differ.
func (s *shard) confirm(ctx context.Context, ids []sale.OrderID, places []int, codes []ConfirmCode) {
	command := make([]string, 1, len(places)+1)
	command[0] = "CONFIRM"
	for _, i := range places {
		command = append(command, ids[i].String())
	}
	message, err := s.do(ctx, buyer, changes, command...)
	if err != nil {
		return
	}
	words, err := message.AsStrSlice()
	if err != nil || len(words) != len(places) {
		return
	}
	for n, i := range places {
		switch word := ConfirmCode(words[n]); word {
		case ConfirmConfirmed, ConfirmExpired, ConfirmReleased, ConfirmUnknown:
			codes[i] = word
		}
	}
}

// Abort gives a hold back that the upstream certainly did not take. It answers Released, or the state
// that the order is in: StillConfirmed, WasExpired, UnknownOrder.
func (c *Client) Abort(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	return c.giveBack(ctx, "ABORT", id, reason, Released, StillConfirmed, WasExpired, UnknownOrder)
}

// Release gives the units of a confirmed order back. Only the owner of the ledger calls it, after its
// own commit. It answers Released, Already, WasExpired, StillHeld, UnknownOrder or Forgotten.
func (c *Client) Release(ctx context.Context, id sale.OrderID, reason string) (string, error) {
	return c.giveBack(ctx, "RELEASE", id, reason, Released, Already, WasExpired, StillHeld, UnknownOrder, Forgotten)
}

func (c *Client) giveBack(ctx context.Context, command string, id sale.OrderID, reason string, words ...string) (string, error) {
	s, err := c.shardOfOrder(id)
	if err != nil {
		return "", err
	}
	message, err := s.do(ctx, buyer, changes, command, id.String(), reason)
	if err != nil {
		return "", err
	}
	return oneOf(message, words...)
}
