package simulation

import (
	"time"

	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// quietAfterLoss is how long a restore waits after a shard was lost: until no message of the dead can
// arrive any more, and what its peers had in flight is decided.
const quietAfterLoss = 4 * time.Second

// disaster loses all voters of a shard with their log, while the sale is paused, and restores its part
// of the sale: from the confirmed orders, which ledger and queue have, and from what its peers say.
func (a *admin) disaster(sh *shard, then func()) {
	w := a.w
	if sh.node == nil {
		w.after(20*time.Millisecond, func() { a.disaster(sh, then) })
		return
	}
	w.note("%s is lost", sh.name)
	w.report.Lost++
	sold, _, _ := sh.state.Holds(saleID, sale.Confirmed, 0, machine.MaxPage)
	last := sh.state.LastOrder()
	*sh = shard{w: w, name: sh.name, index: sh.index, number: sh.number, terms: sh.terms, lost: true}
	w.after(quietAfterLoss, func() {
		sh.elect()
		a.restore(sh, sold, last, then)
	})
}

func (a *admin) restore(sh *shard, sold []machine.Hold, last sale.OrderID, then func()) {
	w := a.w
	r := &machine.Restore{Terms: w.terms, Revision: a.revision, IDFloor: last}
	r.Terms.Stock, r.Terms.Releases = a.stock, nil
	left := a.stock
	for _, release := range w.terms.Releases {
		if release.Units = min(release.Units, left); release.Units > 0 {
			r.Terms.Releases = append(r.Terms.Releases, release)
			left -= release.Units
		}
	}
	for i := range sold {
		h := &sold[i]
		r.Sold = append(r.Sold, machine.SoldOrder{Order: h.Order, User: h.User, Quantity: h.Quantity, Slot: h.Slot, Key: h.Key})
	}
	for _, peer := range w.shards {
		if peer == sh {
			continue
		}
		if peer.node == nil { // what its last leader had in flight is not decided yet
			w.after(20*time.Millisecond, func() { a.restore(sh, sold, last, then) })
			return
		}
		row, _ := peer.state.Collect(saleID)
		for _, t := range row.Transfers {
			if t.Peer == sh.name {
				r.Transfers = append(r.Transfers, machine.RestoredTransfer{Peer: peer.name, Given: t.Taken, Taken: t.Given})
			}
		}
	}
	a.doing = "SALE.RESTORE at " + sh.name
	a.one(sh, machine.Command{Kind: machine.RestoreSale, Restore: r}, then)
}
