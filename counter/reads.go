package counter

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/counter/resp"
	"headgate.example/lib/sale"
)

// The answers copy what they need out of the state before they write: writing may wait for the client.

func answerOrder(c *conn, args [][]byte) {
	id, err := order(args[1])
	if err == nil && id.Shard() != c.srv.cfg.Shard.Number {
		err = &wrongShardError{id.Shard()}
	}
	if err != nil {
		c.out.Error(errorText(err))
		return
	}
	var hold machine.Hold
	var known bool
	if !c.latest(func(s *machine.State, _ replica.Clock) { hold, known = s.Order(id) }) {
		return
	}
	if !known {
		c.out.Null()
		return
	}
	writeHold(c.out, &hold)
}

func answerUser(c *conn, args [][]byte) {
	var holds []machine.Hold
	var known bool
	saleID, user := string(args[1]), string(args[2])
	if c.latest(func(s *machine.State, _ replica.Clock) { holds, known = s.UserOrders(saleID, user) }) {
		slices.SortFunc(holds, func(a, b machine.Hold) int { return cmp.Compare(a.Order, b.Order) })
		writeHolds(c.out, holds, known)
	}
}

func answerHolds(c *conn, args [][]byte) {
	state, err := sale.ParseHoldState(string(args[2]))
	if err != nil {
		c.out.Error("ERR state: must be held, confirmed, released or expired")
		return
	}
	after, err := number("after", args[3])
	if err == nil && after < 0 {
		err = &sale.FieldError{Field: "after", Reason: "must be an order id, or 0"}
	}
	limit, limitErr := number("limit", args[4])
	if limitErr == nil && (limit < 1 || limit > machine.MaxPage) {
		limitErr = &sale.FieldError{Field: "limit", Reason: "must be 1 to " + strconv.Itoa(machine.MaxPage)}
	}
	if err == nil {
		err = limitErr
	}
	if err != nil {
		c.out.Error(errorText(err))
		return
	}
	// A rare state may lie far apart: each look at the state is bounded, and others come in between.
	var holds []machine.Hold
	known := true
	saleID, upTo := string(args[1]), sale.OrderID(after)
	for next := true; next && known; {
		var found []machine.Hold
		if !c.latest(func(s *machine.State, _ replica.Clock) {
			found, upTo, known = s.Holds(saleID, state, upTo, int(limit)-len(holds))
		}) {
			return
		}
		holds = append(holds, found...)
		next = upTo != 0 && len(holds) < int(limit)
	}
	writeHolds(c.out, holds, known)
}

func writeHolds(w *resp.Writer, holds []machine.Hold, known bool) {
	if !known {
		w.Null()
		return
	}
	w.Array(len(holds))
	for i := range holds {
		writeHold(w, &holds[i])
	}
}

func writeHold(w *resp.Writer, h *machine.Hold) {
	f := fields{}
	f.number("order", int64(h.Order))
	f.text("sale", h.Sale)
	f.text("user", h.User)
	f.number("quantity", h.Quantity)
	f.number("slot", h.Slot)
	f.text("state", h.State.String())
	f.text("key", h.Key)
	f.number("reserved_at", h.ReservedAt)
	f.number("expires_at", h.ExpiresAt)
	f.number("changed_at", h.ChangedAt)
	f.text("reason", h.Reason)
	f.write(w)
}

func answerInfo(c *conn, args [][]byte) {
	var info sale.Info
	var known bool
	id := string(args[1])
	if !c.fresh(func(s *machine.State, now replica.Clock) { info, known = s.Info(id, now.Wall) }) {
		return
	}
	if !known {
		c.out.Null()
		return
	}
	f := fields{}
	f.info(&info)
	f.write(c.out)
}

func answerList(c *conn, _ [][]byte) {
	var list []sale.Info
	if !c.fresh(func(s *machine.State, now replica.Clock) { list = s.List(now.Wall) }) {
		return
	}
	c.out.Array(len(list))
	for i := range list {
		f := fields{}
		f.info(&list[i])
		f.write(c.out)
	}
}

func answerAudit(c *conn, args [][]byte) {
	var audit machine.Audit
	var known bool
	var applied uint64
	id := string(args[1])
	var begun *machine.Auditing
	if err := c.srv.replica.Frozen(c.srv.cfg.Limits.ReadWait, func(s *machine.State, now replica.Clock) {
		begun, known = s.BeginAudit(id, now.Wall)
		applied = now.Applied
	}, func() {
		if known {
			audit = begun.Finish()
		}
	}); err != nil {
		c.out.Error(c.replicaError(err))
		return
	}
	if !known {
		c.out.Null()
		return
	}
	f := fields{}
	f.text("shard", c.srv.cfg.Shard.Name)
	f.number("index", int64(applied))
	f.info(&audit.Info)
	f.number("incarnation", audit.Incarnation)
	f.number("held_orders", audit.HeldOrders)
	f.number("confirmed_orders", audit.ConfirmedOrders)
	f.number("released_orders", audit.ReleasedOrders)
	f.number("expired_orders", audit.ExpiredOrders)
	f.number("excess_orders", audit.ExcessOrders)
	ids := make([]string, len(audit.Excess))
	for i, order := range audit.Excess {
		ids[i] = order.String()
	}
	f.text("excess", strings.Join(ids, ","))
	f.number("from_backup", boolean(audit.FromBackup))
	f.transfers(audit.Transfers)
	f.text("violation", audit.Violation)
	f.write(c.out)
}

func answerRules(c *conn, args [][]byte) {
	since, err := number("since", args[1])
	if err == nil && since < 0 {
		err = &sale.FieldError{Field: "since", Reason: "must be an index, or 0 for all"}
	}
	if err != nil {
		c.out.Error(errorText(err))
		return
	}
	var rules machine.RuleChanges
	var now int64
	if !c.fresh(func(s *machine.State, clock replica.Clock) { rules, now = s.Rules(since), clock.Wall }) {
		return
	}
	kind := "delta"
	if rules.Full {
		kind = "full"
	}
	c.out.Array(4)
	c.out.Bulk(kind)
	c.out.Int(rules.Index)
	c.out.Int(now)
	c.out.Array(len(rules.Changes))
	for _, r := range rules.Changes {
		c.out.Array(7)
		c.out.Bulk(r.Kind.String())
		c.out.Bulk(r.Value)
		c.out.Int(r.Index)
		c.out.Int(r.Until)
		c.out.Int(r.Before)
		c.out.Int(boolean(r.Removed))
		c.out.Bulk(r.Reason)
	}
}

func boolean(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// fields gathers a flat field/value array, as HGETALL gives.
type fields struct{ pairs []string }

func (f *fields) text(name, value string) { f.pairs = append(f.pairs, name, value) }

func (f *fields) number(name string, value int64) { f.text(name, strconv.FormatInt(value, 10)) }

func (f *fields) write(w *resp.Writer) {
	w.Array(len(f.pairs))
	for _, text := range f.pairs {
		w.Bulk(text)
	}
}

func (f *fields) info(i *sale.Info) {
	f.pairs = slices.Grow(f.pairs, 64)
	f.text("id", i.ID)
	f.number("revision", i.Revision)
	f.text("phase", string(i.Phase(i.Now)))
	f.number("paused", boolean(i.Paused))
	f.number("closed", boolean(i.Closed))
	f.number("forgotten", boolean(i.Forgotten))
	f.number("stock", i.Stock)
	f.number("limit", i.Limit)
	f.number("opens_at", i.OpensAt)
	f.number("ends_at", i.EndsAt)
	f.number("next_release_at", i.NextReleaseAt)
	f.number("hold_for_ms", i.HoldForMillis)
	f.number("retain_for_ms", i.RetainForMillis)
	f.number("alloc", i.Alloc)
	f.number("taken", i.Taken)
	f.number("given", i.Given)
	f.number("scheduled", i.Scheduled)
	f.number("available", i.Available)
	f.number("held", i.Held)
	f.number("confirmed", i.Confirmed)
	f.number("debt", i.Debt)
	f.number("released_total", i.ReleasedTotal)
	f.number("expired_total", i.ExpiredTotal)
	f.number("supply_version", i.SupplyVersion)
	f.number("now", i.Now)
	f.text("shards", strings.Join(i.Shards, ","))
	f.number("ring_partitions", int64(i.Ring.Partitions))
	f.number("ring_replicas", int64(i.Ring.Replicas))
	f.text("ring_load", strconv.FormatFloat(i.Ring.Load, 'g', -1, 64))
}
