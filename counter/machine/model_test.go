package machine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"headgate.example/lib/sale"
)

// model is the protocol written down a second time, as naively as possible: plain maps, everything
// counted by looking at every order. Properties compare the machine with it.
type model struct {
	number              int64
	wall, served        int64
	lastMillis, lastSeq int64
	sales               map[string]*modelSale
	rules               map[string]Rule
	ruleIndex           int64
	minted              []sale.OrderID
}

type modelSale struct {
	terms                     sale.Terms
	revision                  int64
	content                   string
	paused, closed, forgotten bool
	forgetDue                 int64
	stock, debt, available    int64
	releases                  []sale.Release
	orders                    map[sale.OrderID]*modelOrder
	excess                    []sale.OrderID
}

type modelOrder struct {
	sale.Binding
	key, reason string
	state       sale.HoldState
	by          Kind
	due         int64
}

func newModel(number int) *model {
	return &model{number: int64(number), sales: map[string]*modelSale{}, rules: map[string]Rule{}}
}

func (m *model) advance(wall, served int64) {
	m.wall, m.served = wall, max(m.served, served)
	for _, s := range m.sales {
		if s.forgotten {
			if s.forgetDue <= m.served {
				clear(s.orders)
			}
			continue
		}
		for len(s.releases) > 0 && s.releases[0].At <= wall {
			s.giveBack(s.releases[0].Units)
			s.releases = s.releases[1:]
		}
		for id, o := range s.orders {
			switch {
			case o.state == sale.Held && o.due <= m.served:
				m.finish(s, o, sale.Expired, 0, "")
			case !o.state.Live() && o.due <= m.served:
				delete(s.orders, id)
			}
		}
	}
	for key, r := range m.rules {
		if r.Until != 0 && (r.Until/60_000+1)*60_000 <= wall {
			delete(m.rules, key)
		}
	}
}

func (s *modelSale) giveBack(units int64) {
	for ; units > 0; units-- {
		if s.debt > 0 {
			s.debt--
		} else {
			s.available++
		}
	}
}

func (s *modelSale) units(state sale.HoldState) (n int64) {
	for _, o := range s.orders {
		if o.state == state {
			n += o.Quantity
		}
	}
	return n
}

func (s *modelSale) scheduled() (n int64) {
	for _, r := range s.releases {
		n += r.Units
	}
	return n
}

func (s *modelSale) liveOf(user string) (orders []*modelOrder) {
	for _, o := range s.orders {
		if o.User == user && o.state.Live() {
			orders = append(orders, o)
		}
	}
	slices.SortFunc(orders, func(a, b *modelOrder) int { return cmp.Compare(a.Slot, b.Slot) })
	return orders
}

func (m *model) finish(s *modelSale, o *modelOrder, state sale.HoldState, by Kind, reason string) {
	o.state, o.by, o.reason, o.due = state, by, reason, m.served+s.terms.RetainForMillis
	s.giveBack(o.Quantity)
}

func (m *model) mint() sale.OrderID {
	if now := m.wall - sale.EpochMillis; now > m.lastMillis {
		m.lastMillis, m.lastSeq = now, 0
	} else if m.lastSeq++; m.lastSeq == 4096 {
		m.lastMillis, m.lastSeq = m.lastMillis+1, 0
	}
	id := sale.OrderID(m.lastMillis<<22 + m.number<<12 + m.lastSeq)
	m.minted = append(m.minted, id)
	return id
}

func (m *model) find(id sale.OrderID) (*modelSale, *modelOrder) {
	for _, s := range m.sales {
		if o := s.orders[id]; o != nil {
			return s, o
		}
	}
	return nil, nil
}

func (m *model) apply(c *Command) Result {
	if c.Validate() != nil {
		return Result{Code: CodeErr}
	}
	switch c.Kind {
	case Reserve:
		return m.reserve(c)
	case Confirm, Abort, Release:
		return m.settle(c)
	case OpenSale:
		return m.open(c)
	case RestoreSale:
		return m.restore(c)
	case Ban, Unban, Revoke:
		return m.rule(c)
	}
	return m.change(c)
}

func (m *model) reserve(c *Command) Result {
	s := m.sales[c.Sale]
	if s == nil {
		return Result{Code: CodeNoSale}
	}
	if s.forgotten {
		return Result{Code: CodeEnded}
	}
	var units int64
	taken := map[int64]bool{}
	for _, o := range s.liveOf(c.User) {
		if o.key == c.Key {
			return m.result(CodeAlready, s, o)
		}
		units += o.Quantity
		taken[o.Slot] = true
	}
	if s.paused {
		return Result{Code: CodePaused}
	}
	if !s.closed && m.wall < s.terms.OpensAt {
		return Result{Code: CodeNotOpen, Detail: s.terms.OpensAt}
	}
	if !s.closed && s.available == 0 && len(s.releases) > 0 {
		return Result{Code: CodeNotOpen, Detail: s.releases[0].At}
	}
	if s.closed || s.terms.EndsAt > 0 && m.wall >= s.terms.EndsAt {
		return Result{Code: CodeEnded}
	}
	if s.terms.Limit > 0 && units+c.Quantity > s.terms.Limit {
		return Result{Code: CodeLimit, Detail: s.terms.Limit}
	}
	if s.available == 0 {
		return Result{Code: CodeSoldOut, Detail: s.units(sale.Held)}
	}
	if s.available < c.Quantity {
		return Result{Code: CodeInsufficient, Detail: s.available}
	}
	slot := int64(1)
	for taken[slot] {
		slot++
	}
	o := &modelOrder{
		Binding: sale.Binding{Order: m.mint(), Sale: c.Sale, User: c.User, Quantity: c.Quantity, Slot: slot},
		key:     c.Key, state: sale.Held, due: m.served + s.terms.HoldForMillis,
	}
	s.orders[o.Order] = o
	s.available -= c.Quantity
	return m.result(CodeReserved, s, o)
}

func (m *model) result(code Code, s *modelSale, o *modelOrder) Result {
	r := Result{Code: code, Order: o.Order, State: o.state, Quantity: o.Quantity, Slot: o.Slot}
	if (code == CodeReserved || code == CodeAlready) && o.state == sale.Held {
		r.Expires = m.wall + o.due - m.served
	}
	return r
}

func (m *model) settle(c *Command) Result {
	s, o := m.find(c.Order)
	switch {
	case o == nil:
		return Result{Code: CodeUnknown, Order: c.Order}
	case s.forgotten && c.Kind == Release:
		return Result{Code: CodeForgotten, Order: c.Order}
	case s.forgotten:
		return Result{Code: CodeUnknown, Order: c.Order}
	case c.Kind == Confirm && o.state == sale.Held:
		o.state, o.due = sale.Confirmed, 0
	case c.Kind == Abort && o.state == sale.Held, c.Kind == Release && o.state == sale.Confirmed:
		m.finish(s, o, sale.Released, c.Kind, c.Reason)
	case c.Kind == Release && o.state == sale.Released:
		return m.result(CodeAlready, s, o)
	}
	word := map[sale.HoldState]Code{
		sale.Held: CodeHeld, sale.Confirmed: CodeConfirmed, sale.Released: CodeReleased, sale.Expired: CodeExpired,
	}
	return m.result(word[o.state], s, o)
}

func contentOf(c *Command) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (m *model) open(c *Command) Result {
	t := c.Terms
	if !slices.Contains(t.Shards, "s1") {
		return Result{Code: CodeWrongShard}
	}
	if len(t.Shards) > 1 {
		return Result{Code: CodeErr}
	}
	if s := m.sales[t.ID]; s != nil {
		if s.revision == t.Revision && s.content == contentOf(c) {
			return Result{Code: CodeOK, Revision: t.Revision}
		}
		return Result{Code: CodeConflict, Revision: s.revision}
	}
	if t.Revision != 1 {
		return Result{Code: CodeConflict}
	}
	m.mint() // the incarnation
	m.sales[t.ID] = m.begin(*t, contentOf(c), t.Revision)
	return Result{Code: CodeOK, Revision: t.Revision}
}

func (m *model) begin(t sale.Terms, content string, revision int64) *modelSale {
	s := &modelSale{
		terms: t, revision: revision, content: content, paused: true, stock: t.Stock,
		releases: slices.Clone(t.Releases), orders: map[sale.OrderID]*modelOrder{},
	}
	s.available = t.Stock - s.scheduled()
	for len(s.releases) > 0 && s.releases[0].At <= m.wall {
		s.available += s.releases[0].Units
		s.releases = s.releases[1:]
	}
	return s
}

func (m *model) restore(c *Command) Result {
	r := c.Restore
	if !slices.Contains(r.Terms.Shards, "s1") {
		return Result{Code: CodeWrongShard}
	}
	if len(r.Terms.Shards) > 1 {
		return Result{Code: CodeErr}
	}
	if s := m.sales[r.Terms.ID]; s != nil {
		if s.revision == r.Revision && s.content == contentOf(c) {
			return Result{Code: CodeOK, Revision: s.revision, Detail: int64(len(s.excess)), Excess: s.excess}
		}
		return Result{Code: CodeConflict, Revision: s.revision}
	}
	floor := r.IDFloor
	for _, o := range r.Sold {
		if known, _ := m.find(o.Order); known != nil || int64(o.Order.Shard()) != m.number {
			return Result{Code: CodeErr}
		}
		floor = max(floor, o.Order)
	}
	if floor.IDMillis() > m.wall-sale.EpochMillis+MaxIDFloorMillis {
		return Result{Code: CodeErr}
	}
	seq := int64(floor.Sequence())
	if int64(floor.Shard()) != m.number {
		seq = 4095
	}
	if cmp.Or(cmp.Compare(floor.IDMillis(), m.lastMillis), cmp.Compare(seq, m.lastSeq)) > 0 {
		m.lastMillis, m.lastSeq = floor.IDMillis(), seq
	}
	m.mint()
	s := m.begin(r.Terms, contentOf(c), r.Revision)
	s.closed, s.paused = r.Closed, !r.Closed
	owner := map[string]sale.OrderID{}
	for _, o := range r.Sold {
		claim := fmt.Sprint(o.User, " ", o.Slot)
		owner[claim] = max(owner[claim], o.Order)
	}
	sold := slices.SortedFunc(slices.Values(r.Sold), func(a, b SoldOrder) int { return cmp.Compare(a.Order, b.Order) })
	for _, o := range sold {
		if owner[fmt.Sprint(o.User, " ", o.Slot)] != o.Order {
			s.excess = append(s.excess, o.Order)
			continue
		}
		s.orders[o.Order] = &modelOrder{
			Binding: sale.Binding{Order: o.Order, Sale: r.Terms.ID, User: o.User, Quantity: o.Quantity, Slot: o.Slot},
			key:     o.Key, state: sale.Confirmed,
		}
		for range o.Quantity {
			switch {
			case s.available > 0:
				s.available--
			case len(s.releases) > 0:
				if s.releases[0].Units--; s.releases[0].Units == 0 {
					s.releases = s.releases[1:]
				}
			default:
				s.debt++
			}
		}
	}
	m.sales[r.Terms.ID] = s
	return Result{Code: CodeOK, Revision: s.revision, Detail: int64(len(s.excess)), Excess: s.excess}
}

func (m *model) change(c *Command) Result {
	s := m.sales[c.Sale]
	switch {
	case s == nil:
		return Result{Code: CodeNoSale}
	case c.Revision == s.revision && s.content == contentOf(c):
		return Result{Code: CodeOK, Revision: s.revision}
	case c.Revision != s.revision+1:
		return Result{Code: CodeConflict, Revision: s.revision}
	case s.forgotten, s.closed && (c.Kind == ResumeSale || c.Kind == SetStock),
		c.Kind == SetStock && c.Total < s.stock && !s.paused,
		c.Kind == ForgetSale && s.units(sale.Held) > 0:
		return Result{Code: CodeErr}
	}
	switch c.Kind {
	case PauseSale:
		s.paused = !s.closed
	case ResumeSale:
		s.paused = false
	case CloseSale:
		s.closed, s.paused = true, false
	case ForgetSale:
		s.forgotten, s.forgetDue = true, m.served+s.terms.RetainForMillis
	case SetStock:
		for ; s.stock < c.Total; s.stock++ {
			s.giveBack(1)
		}
		for ; s.stock > c.Total; s.stock-- {
			switch last := len(s.releases) - 1; {
			case last >= 0:
				if s.releases[last].Units--; s.releases[last].Units == 0 {
					s.releases = s.releases[:last]
				}
			case s.available > 0:
				s.available--
			default:
				s.debt++
			}
		}
	}
	s.revision, s.content = c.Revision, contentOf(c)
	return Result{Code: CodeOK, Revision: s.revision}
}

func (m *model) rule(c *Command) Result {
	next := Rule{Kind: c.Rule, Value: c.Value, Until: c.Until, Reason: c.Reason}
	if c.Kind == Revoke {
		next = Rule{Kind: RuleToken, Value: c.User, Before: c.Before}
	}
	key := next.Kind.String() + " " + next.Value
	old, known := m.rules[key]
	switch {
	case c.Kind == Ban && c.Until != 0 && c.Until <= m.wall:
		return Result{Code: CodeErr}
	case c.Kind == Unban && !known,
		c.Kind == Ban && known && old.Until == next.Until && old.Reason == next.Reason,
		c.Kind == Revoke && known && old.Before >= next.Before:
		return Result{Code: CodeOK, Detail: m.ruleIndex}
	}
	m.ruleIndex++
	next.Index = m.ruleIndex
	if m.rules[key] = next; c.Kind == Unban {
		delete(m.rules, key)
	}
	return Result{Code: CodeOK, Detail: m.ruleIndex}
}
