package repair

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"headgate.example/backend/agreement"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// partOrders is how many orders go into one SALE.RESTORE: with the longest names they stay below its
// limit of bytes.
const partOrders = 8000

// manyParts: a restore of several parts has a multiple of it. When it was cut short, the one that goes on
// must have as many parts, though an order may have been cancelled meanwhile.
const manyParts = 8

// restore rebuilds a sale on the shards that lost it. whole: they are all there again.
func (r *repair) restore(ctx context.Context, s *store.Sale, terms sale.Terms, lost, rows map[string]client.Collected) (whole bool, err error) {
	quiet, err := r.queueIsQuiet(ctx)
	if err != nil {
		return false, err
	}
	waiting, err := r.messages(ctx)
	if err != nil {
		return false, err
	}
	claims, err := r.claims(ctx, s, waiting)
	if err != nil {
		return false, err
	}
	known, err := r.Ledger.HighestOrder(ctx)
	if err != nil {
		return false, err
	}
	for i := range claims {
		known = max(known, claims[i].Order)
	}
	for i := range waiting.claims {
		known = max(known, waiting.claims[i].Order)
	}
	kept, losers := settleSlots(onShards(claims, r.numbers(lost)))
	r.listExcess(s, terms, claims, losers)
	head := r.head(s, terms, rows)
	if r.options.Apply && !quiet {
		return false, nil // what is in the queue may have a claim: see Waiting
	}
	// While the counter does not know the orders, no message of them is decided: what has to give way
	// gives way first.
	if err := r.giveWay(ctx, s.ID, losers, waiting); err != nil {
		return false, err
	}
	if err := r.pause(ctx, s); err != nil {
		return false, err
	}
	for _, shard := range slices.Sorted(maps.Keys(lost)) {
		number := r.Shards[shard]
		restore := head
		restore.IDFloor = sale.MakeOrderID(known.IDMillis(), number, sale.MaxSequence)
		restore.Transfers = transfersOf(shard, rows)
		mine := onShards(kept, map[int]bool{number: true})
		if err := r.restoreShard(ctx, shard, restore, mine, known, lost[shard]); err != nil {
			return false, err
		}
	}
	return r.options.Apply, nil
}

func (r *repair) numbers(shards map[string]client.Collected) map[int]bool {
	numbers := make(map[int]bool, len(shards))
	for name := range shards {
		numbers[r.Shards[name]] = true
	}
	return numbers
}

// head is what all parts of the restore have in common. The shards that are left are at some revision;
// the sale is rebuilt at the lowest of them, and what the ledger intends beyond it is sent to all.
func (r *repair) head(s *store.Sale, terms sale.Terms, rows map[string]client.Collected) client.Restore {
	restore := client.Restore{Terms: terms, Revision: s.Revision, Closed: s.Intent == store.IntentClosed, Paused: true}
	restore.Terms.Stock = s.Stock
	for _, row := range rows {
		if row.Revision < restore.Revision {
			restore.Revision, restore.Terms.Stock, restore.Closed = row.Revision, row.Stock, row.Closed
		}
	}
	// Staged releases stay as they were announced, as far as a cut of the stock has left units for them.
	var staged int64
	restore.Terms.Releases = nil
	for _, release := range terms.Releases {
		release.Units = min(release.Units, restore.Terms.Stock-staged)
		if release.Units > 0 {
			restore.Terms.Releases = append(restore.Terms.Releases, release)
			staged += release.Units
		}
	}
	return restore
}

// transfersOf is what moved between a lost shard and those that are left, as they count it. What a peer
// gave has left it; what it never took stays here.
func transfersOf(shard string, rows map[string]client.Collected) []client.RestoredTransfer {
	var transfers []client.RestoredTransfer
	for peer, row := range rows {
		for _, t := range row.Transfers {
			if t.Peer == shard && (t.Given > 0 || t.Taken > 0) {
				transfers = append(transfers, client.RestoredTransfer{Peer: peer, Given: t.Taken, Taken: t.Given})
			}
		}
	}
	slices.SortFunc(transfers, func(a, b client.RestoredTransfer) int { return cmp.Compare(a.Peer, b.Peer) })
	return transfers
}

// claims are the active orders of a sale, and the messages of orders that have no row. Ascending by id.
func (r *repair) claims(ctx context.Context, s *store.Sale, waiting *messages) ([]claim, error) {
	var claims []claim
	for after := sale.OrderID(0); ; {
		rows, err := r.Ledger.ActiveOrders(ctx, s.ID, after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			claims = append(claims, claim{Binding: rows[i].Binding(), key: rows[i].RequestKey, from: "order", row: &rows[i]})
			after = rows[i].ID
		}
		if len(rows) < store.MaxPage {
			break
		}
	}
	seen := map[sale.OrderID]bool{}
	var without []claim
	for _, c := range waiting.claims {
		if c.Sale == s.ID && !seen[c.Order] {
			seen[c.Order] = true
			without = append(without, c)
		}
	}
	for page := range slices.Chunk(without, store.MaxPage) {
		rows, err := r.Ledger.OrdersByIDs(ctx, idsOf(page))
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			if !slices.ContainsFunc(rows, func(row store.Order) bool { return row.ID == c.Order }) {
				claims = append(claims, c)
			}
		}
	}
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.Order, b.Order) })
	return claims, nil
}

func onShards(claims []claim, numbers map[int]bool) []claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return !numbers[c.Order.Shard()] })
}

func countFrom(claims []claim, from string) (n int) {
	for i := range claims {
		if claims[i].from == from {
			n++
		}
	}
	return n
}

func idsOf(claims []claim) []sale.OrderID {
	ids := make([]sale.OrderID, len(claims))
	for i := range claims {
		ids[i] = claims[i].Order
	}
	return ids
}

// loser is a claim whose slot a later one has.
type loser struct {
	claim
	by sale.OrderID
}

// settleSlots gives each slot of a user to the highest id: the counter gives a slot again only after the
// order that had it was freed.
func settleSlots(claims []claim) (kept []claim, losers []loser) {
	type slot struct {
		user string
		slot int64
	}
	highest := map[slot]sale.OrderID{}
	for i := range claims {
		at := slot{claims[i].User, claims[i].Slot}
		highest[at] = max(highest[at], claims[i].Order)
	}
	for _, c := range claims {
		if by := highest[slot{c.User, c.Slot}]; by != c.Order {
			losers = append(losers, loser{c, by})
		} else {
			kept = append(kept, c)
		}
	}
	return kept, losers
}

// listExcess lists what the claims have beyond what the sale allows. They are restored all the same:
// nobody but an operator decides whose order goes.
func (r *repair) listExcess(s *store.Sale, terms sale.Terms, claims []claim, losers []loser) {
	lost := map[sale.OrderID]bool{}
	for i := range losers {
		lost[losers[i].Order] = true
	}
	var units int64
	perUser := map[string]int64{}
	for i := range claims {
		if !lost[claims[i].Order] {
			units += claims[i].Quantity
			perUser[claims[i].User] += claims[i].Quantity
		}
	}
	if units > s.Stock {
		r.report.list("sale %s: %d units are claimed of a stock of %d: the rest is debt, which whatever returns pays", s.ID, units, s.Stock)
	}
	for i := range claims {
		user := claims[i].User
		if n := perUser[user]; terms.Limit > 0 && n > terms.Limit {
			r.report.list("sale %s: user %s has %d units, more than the limit of %d", s.ID, user, n, terms.Limit)
			delete(perUser, user)
		}
	}
}

// giveWay settles claims whose slot a later order has: it proves that they were freed.
func (r *repair) giveWay(ctx context.Context, saleID string, losers []loser, waiting *messages) error {
	for _, l := range losers {
		why := fmt.Sprintf("order %s has its slot: it had been freed before the ledger or the counter lost data", l.by)
		if l.from == "order" && l.row.State != sale.Unpaid {
			r.report.list("sale %s: order %s of user %s is %s, but %s", saleID, l.Order, l.User, l.row.State, why)
			continue
		}
		step := Step{Kind: FreeOrder, Sale: saleID, Count: 1, Orders: []sale.OrderID{l.Order}, What: "order " + l.Order.String() + " is cancelled: " + why}
		take := func() error { return r.Ledger.CancelLost(ctx, l.Order, why) }
		if l.from != "order" {
			step.Kind, step.What = ExpireMessage, "the message of order "+l.Order.String()+" is written as expired: "+why
			take = func() error {
				report, err := r.Ledger.WriteOrders(ctx, []store.Accepted{{Binding: l.Binding, Key: l.key, Expired: true}})
				if err != nil {
					return err
				}
				if o := report.Results[0].Outcome; o != store.Written && o != store.Known {
					return fmt.Errorf("the ledger says %s: %s", o, report.Results[0].Why)
				}
				return r.Ledger.FinishParked(ctx, waiting.parked[l.Order]...)
			}
		}
		if err := r.do(ctx, step, take); err != nil {
			return err
		}
	}
	return nil
}

// pause lets the ledger intend what a restored sale is: paused, until an operator has looked at it.
func (r *repair) pause(ctx context.Context, s *store.Sale) error {
	if s.Intent != store.IntentOpen {
		return nil
	}
	step := Step{Kind: PauseSale, Sale: s.ID, What: "is paused; when the audit holds: `headgate sale resume " + s.ID + "`"}
	return r.do(ctx, step, func() error {
		_, err := r.Ledger.ChangeSale(ctx, s.ID, func(now store.Sale) ([]store.SaleChange, error) {
			if now.Intent != store.IntentOpen {
				return nil, nil
			}
			return agreement.Pause(), nil
		})
		return err
	})
}

// restoreShard sends SALE.RESTORE, in as many parts as it takes. partial is what the shard has of an
// earlier restore that was cut short, or of a backup.
func (r *repair) restoreShard(ctx context.Context, shard string, head client.Restore, sold []claim, known sale.OrderID, partial client.Collected) error {
	var units int64
	for i := range sold {
		units += sold[i].Quantity
	}
	orders := countFrom(sold, "order")
	step := Step{Kind: RestoreShard, Sale: head.Terms.ID, Shard: shard, Count: len(sold), Orders: first(idsOf(sold)), What: fmt.Sprintf(
		"is rebuilt at revision %d with %d units of %d confirmed orders (%d of the ledger, %d of waiting messages); later ids are above %s, the highest known is %s; transfers %v",
		head.Revision, units, len(sold), orders, len(sold)-orders, head.IDFloor, known, head.Transfers)}
	return r.do(ctx, step, func() error {
		err := r.sendParts(ctx, shard, head, sold)
		var conflict *client.ConflictError
		if errors.As(err, &conflict) && partial.Revision > 0 && partial.Revision < head.Revision {
			// The rest of a restore that was cut short belongs to what it began with.
			head.Revision, head.Terms.Stock, head.Closed = partial.Revision, partial.Stock, partial.Closed
			err = r.sendParts(ctx, shard, head, sold)
		}
		return err
	})
}

// sendParts sends all parts, or, when an earlier restore was cut short, the orders that the shard lacks in
// the parts that are left of it.
func (r *repair) sendParts(ctx context.Context, shard string, head client.Restore, sold []claim) error {
	parts := 1
	if len(sold) > partOrders {
		parts = (len(sold) + partOrders - 1) / partOrders
		parts = (parts + manyParts - 1) / manyParts * manyParts
	}
	begun := false
	for part := 1; part <= parts; part++ {
		size := (len(sold) + parts - part) / (parts - part + 1)
		err := r.sendPart(ctx, shard, head, sold[:size], part, parts)
		var conflict *client.ConflictError
		switch {
		case errors.As(err, &conflict) && !begun && part < parts:
			if part > 1 {
				continue
			}
			if sold, err = r.lacking(ctx, head.Terms.ID, sold); err == nil {
				continue
			}
		case err == nil:
			begun, sold = true, sold[size:]
			continue
		}
		return fmt.Errorf("part %d of %d: %w", part, parts, err)
	}
	return nil
}

// lacking are the orders that the counter does not have as confirmed.
func (r *repair) lacking(ctx context.Context, saleID string, sold []claim) ([]claim, error) {
	has := make(map[sale.OrderID]bool)
	for after := sale.OrderID(0); ; {
		holds, err := r.Counter.Holds(ctx, saleID, sale.Confirmed, after, store.MaxPage)
		if err != nil && !errors.Is(err, client.ErrNoSale) {
			return nil, fmt.Errorf("listing what the shard has: %w", err)
		}
		for i := range holds {
			after = holds[i].Order
			has[after] = true
		}
		if len(holds) < store.MaxPage {
			return slices.DeleteFunc(slices.Clone(sold), func(c claim) bool { return has[c.Order] }), nil
		}
	}
}

// restoreWait bounds one SALE.RESTORE, which is repeated while the shard elects a leader.
const restoreWait = time.Minute

func (r *repair) sendPart(ctx context.Context, shard string, head client.Restore, sold []claim, part, parts int) error {
	head.Part, head.Parts = part, parts
	head.Sold = make([]client.SoldOrder, len(sold))
	for i := range sold {
		c := &sold[i]
		head.Sold[i] = client.SoldOrder{Order: c.Order, User: c.User, Quantity: c.Quantity, Slot: c.Slot, Key: c.key}
	}
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	for {
		err := r.Counter.RestoreShard(ctx, shard, text)
		if err == nil || !errors.Is(err, client.ErrUnknown) && !errors.Is(err, client.ErrUnavailable) {
			return err
		}
		timer := time.NewTimer(200 * time.Millisecond) // the same content twice is taken once
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
