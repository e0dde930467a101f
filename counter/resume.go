package counter

import (
	"context"
	"fmt"
	"strings"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
)

// readyToResume is nil when the sale may be resumed here: what any shard owes after a cut was asked for
// at all of them. It asks every shard.
func (o *dealership) readyToResume(ctx context.Context, m *machine.Command) error {
	d := o.of(m.Sale)
	if d == nil {
		return nil // not a sale of several shards: the log knows what to answer
	}
	d.mu.Lock()
	served := !d.ended && d.look()
	own := d.local
	d.mu.Unlock()
	if !served {
		return o.notServing()
	}
	if !own.Paused || own.Closed || m.Revision != own.Revision+1 {
		return nil
	}
	rows, err := o.rows(ctx, d.sale, own)
	if err != nil {
		return &peersError{"the sale is resumed when every shard is known to be ready: " + err.Error()}
	}
	var debt, units, given, taken int64
	var owing []string
	for i := range rows {
		row := &rows[i]
		if row.Revision >= m.Revision && !row.Paused {
			return nil // it was settled before that shard resumed
		}
		if row.Revision+1 < m.Revision {
			return &peersError{fmt.Sprintf("shard %s is at revision %d of the sale", row.Shard, row.Revision)}
		}
		if row.Debt > 0 {
			owing = append(owing, row.Shard)
		}
		debt, units = debt+row.Debt, units+row.Available+row.Scheduled
		for _, t := range row.Transfers {
			given, taken = given+t.Given, taken+t.Taken
		}
	}
	switch {
	case debt == 0:
		return nil
	case units > 0 || given != taken || own.Debt > 0 && !d.mayResume():
		return &debtError{fmt.Sprintf("%d units that were cut from the stock are still being collected for shard %s", debt, strings.Join(owing, ", "))}
	}
	return nil
}

// debtError holds a resume back for a moment.
type debtError struct{ reason string }

func (e *debtError) Error() string { return "debt: " + e.reason }

func (e *debtError) Is(target error) bool { return target == replica.ErrNotAccepted }

// settleDebts is what RESUME asks before it goes into the log.
func settleDebts(c *conn, m *machine.Command) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.srv.cfg.Borrow.PeerTimeout)
	defer cancel()
	return c.srv.dealers.readyToResume(ctx, m)
}
