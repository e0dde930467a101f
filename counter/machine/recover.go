package machine

import (
	"cmp"
	"slices"

	"headgate.example/lib/sale"
)

// Recovered says what Recover did.
type Recovered struct {
	// Floor: every id from now on is higher.
	Floor sale.OrderID
	// Stopped are the sales that were made to stop, by id.
	Stopped []string
}

// RecoverOptions tell what is known of the time after a backup.
type RecoverOptions struct {
	// Wall is now, in milliseconds since 1970.
	Wall int64
	// Known is the highest order id of this shard that ledger and queue know, or 0.
	Known sale.OrderID
	// Complete: the shard decided nothing after the backup. Its sales are then only paused.
	Complete bool
}

// Recover makes a state that was read from a backup fit to be the shard's state again. What the shard
// decided after the backup is lost, so
//   - all later ids are higher than any that it can have minted meanwhile: an hour ahead of the clock,
//     which is as far as ids ever run ahead of it, and above Known;
//   - each sale has a new incarnation and is paused; unless Complete, nothing changes it, and none of its
//     holds expires, until SALE.RESTORE replaces it by what ledger and queue know: units of its stock may
//     be sold that this state knows nothing of.
//
// It is not part of applying the log. Errors are *sale.FieldError; then nothing has changed.
func (s *State) Recover(o RecoverOptions) (Recovered, error) {
	now := clampWall(o.Wall) - sale.EpochMillis
	if o.Known != 0 && (o.Known < 0 || o.Known.Shard() != s.opts.Number) {
		return Recovered{}, refuse("id_floor", "must be an order id of shard number %d", s.opts.Number)
	}
	for _, id := range [...]sale.OrderID{o.Known, s.LastOrder()} {
		if ahead := id.IDMillis() - now; ahead > MaxIDFloorMillis {
			return Recovered{}, refuse("id_floor", "order %d lies %d ms ahead of the clock, more than a day: check the number and this machine's clock", id, ahead)
		}
	}
	millis := min(max(now+MaxIDAheadMillis, s.idTime+1, o.Known.IDMillis()+1), sale.MaxIDTime)
	s.raiseIDs(sale.MakeOrderID(millis, s.opts.Number, sale.MaxSequence))
	done := Recovered{Floor: s.LastOrder()}
	slices.SortFunc(s.active, func(a, b *saleState) int { return cmp.Compare(a.terms.ID, b.terms.ID) })
	for _, sl := range s.active {
		incarnation, ok := s.mint()
		if !ok {
			return Recovered{}, refuse("id_floor", "order ids have come to their end")
		}
		sl.incarnation, sl.content, sl.paused = int64(incarnation), digest{}, !sl.closed
		if !o.Complete {
			sl.part, sl.parts, sl.head = 1, 2, digest{}
		}
		done.Stopped = append(done.Stopped, sl.terms.ID)
	}
	return done, nil
}

// recovered: the sale is as a backup knew it, and waits for SALE.RESTORE. It looks like one of which
// part 1 of 2 has come, as older programs read it too; but no restore has an empty digest.
func (sl *saleState) recovered() bool { return sl.restoring() && sl.head == digest{} }

// dropSale takes a sale away as if it had never been known, with all its orders.
func (s *State) dropSale(sl *saleState) {
	ids := make([]sale.OrderID, 0, sl.ids.live)
	sl.ids.each(0, func(id sale.OrderID) bool {
		ids = append(ids, id)
		return true
	})
	for _, id := range ids {
		s.dropHold(sl, s.byID.find(id))
	}
	s.active = slices.DeleteFunc(s.active, func(other *saleState) bool { return other == sl })
	delete(s.byName, sl.terms.ID)
	s.recent = nil
	s.sales[sl.index] = nil
	s.spare = append(s.spare, sl.index)
}
