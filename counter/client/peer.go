package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"headgate.example/counter/machine"
)

// Ask asks a shard, as another shard, for units of a sale. taken is what the taker ever took of it;
// want 0 only tells it that. The answer is what it ever gave the taker, an earlier gift that did not
// arrive included.
func (c *Client) Ask(ctx context.Context, giver, saleID, taker string, taken, want int64, forDebt bool) (given int64, err error) {
	purpose := "sell"
	if forDebt {
		purpose = "debt"
	}
	message, err := c.toPeer(ctx, giver, changes, "SHARD.ASK", saleID, taker, decimal(taken), decimal(want), purpose)
	if err != nil {
		return 0, err
	}
	if given, err = message.AsInt64(); err != nil {
		return 0, malformed("SHARD.ASK: %v", err)
	}
	return given, nil
}

// Give tells a shard what another one ever gave it of a sale; the answer is what it ever took.
func (c *Client) Give(ctx context.Context, taker, saleID, giver string, given int64) (taken int64, err error) {
	message, err := c.toPeer(ctx, taker, changes, "SHARD.GIVE", saleID, giver, decimal(given))
	if err != nil {
		return 0, err
	}
	if taken, err = message.AsInt64(); err != nil {
		return 0, malformed("SHARD.GIVE: %v", err)
	}
	return taken, nil
}

// What a repair reads of the shards that are left, and sends to the one that lost its data.
type (
	Collected        = machine.Collected
	Restore          = machine.Restore
	RestoredTransfer = machine.RestoredTransfer
	SoldOrder        = machine.SoldOrder
)

// Collect reads one shard's row of a collect; ErrNoSale when it does not know the sale.
func (c *Client) Collect(ctx context.Context, shard, saleID string) (Collected, error) {
	message, err := c.toPeer(ctx, shard, reads, "SHARD.COLLECT", saleID)
	if errors.Is(err, errNil) {
		return Collected{}, ErrNoSale
	}
	if err != nil {
		return Collected{}, err
	}
	r := readRow(message)
	row := Collected{
		Shard: r.text("shard"), Incarnation: r.number("incarnation"), Revision: r.number("revision"), Supply: r.number("supply_version"),
		Paused: r.truth("paused"), Closed: r.truth("closed"), Forgotten: r.truth("forgotten"), Restoring: r.truth("restoring"),
		Stock: r.number("stock"), Alloc: r.number("alloc"), Debt: r.number("debt"), Scheduled: r.number("scheduled"),
		NextReleaseAt: r.number("next_release_at"), Available: r.number("available"), Held: r.number("held"), Confirmed: r.number("confirmed"),
	}
	row.Transfers = readTransfers(r)
	if r.err == nil && row.Shard != shard {
		r.err = malformed("shard %q when asked for %q", row.Shard, shard)
	}
	return row, r.err
}

// readTransfers reads what moved to and from each other shard: peer:given:acknowledged:taken, by comma.
func readTransfers(r *row) []machine.Transfer {
	var list []machine.Transfer
	for text := range strings.SplitSeq(r.text("transfers"), ",") {
		if text == "" {
			continue
		}
		parts := strings.Split(text, ":")
		t := machine.Transfer{Peer: parts[0]}
		if len(parts) != 4 {
			r.fail("transfers", text)
			return nil
		}
		for i, field := range []*int64{&t.Given, &t.Acknowledged, &t.Taken} {
			n, err := strconv.ParseInt(parts[1+i], 10, 64)
			if err != nil {
				r.fail("transfers", text)
				return nil
			}
			*field = n
		}
		list = append(list, t)
	}
	return list
}

func (r *row) fail(field, text string) {
	if r.err == nil {
		r.err = malformed("field %s is %q", field, text)
	}
}

func (c *Client) toPeer(ctx context.Context, name string, e effect, command ...string) (rueidis.RedisMessage, error) {
	s := c.byName[name]
	if s == nil {
		return rueidis.RedisMessage{}, fmt.Errorf("%w: shard %s is not in the config", ErrUnavailable, name)
	}
	return s.do(ctx, operator, e, command...)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
