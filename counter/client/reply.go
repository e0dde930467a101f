package client

import (
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"headgate.example/lib/sale"
)

// maxRows bounds what is believed of a counter's answer.
const maxRows = 100_000

// row reads a flat field/value array and keeps the first thing that is wrong with it.
type row struct {
	values map[string]string
	err    error
}

func readRow(m rueidis.RedisMessage) *row {
	values, err := m.AsStrMap()
	if err != nil {
		return &row{err: malformed("want fields and values: %v", err)}
	}
	return &row{values: values}
}

func (r *row) text(field string) string {
	value, ok := r.values[field]
	if !ok && r.err == nil {
		r.err = malformed("field %s is missing", field)
	}
	return value
}

func (r *row) number(field string) int64 {
	text := r.text(field)
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.err = malformed("field %s is %q, not a number", field, text)
	}
	return n
}

func (r *row) truth(field string) bool { return r.number(field) != 0 }

func readHold(m rueidis.RedisMessage) (Hold, error) {
	r := readRow(m)
	h := Hold{
		Binding: sale.Binding{
			Order: sale.OrderID(r.number("order")), Sale: r.text("sale"), User: r.text("user"),
			Quantity: r.number("quantity"), Slot: r.number("slot"),
		},
		Key: r.text("key"), ReservedAt: r.number("reserved_at"), ExpiresAt: r.number("expires_at"),
		ChangedAt: r.number("changed_at"), Reason: r.text("reason"),
	}
	state := r.text("state")
	if r.err != nil {
		return Hold{}, r.err
	}
	var err error
	if h.State, err = sale.ParseHoldState(state); err != nil {
		return Hold{}, malformed("%v", err)
	}
	if err := h.Binding.Validate(); err != nil {
		return Hold{}, malformed("a hold whose %v", err)
	}
	return h, nil
}

func readHolds(m rueidis.RedisMessage) ([]Hold, error) {
	rows, err := readArray(m, maxRows)
	if err != nil {
		return nil, err
	}
	holds := make([]Hold, len(rows))
	for i := range rows {
		if holds[i], err = readHold(rows[i]); err != nil {
			return nil, err
		}
	}
	return holds, nil
}

func readArray(m rueidis.RedisMessage, most int) ([]rueidis.RedisMessage, error) {
	rows, err := m.ToArray()
	if err != nil {
		return nil, malformed("want an array: %v", err)
	}
	if len(rows) > most {
		return nil, malformed("an array of %d elements, more than %d", len(rows), most)
	}
	return rows, nil
}

func readInfo(r *row) sale.Info {
	info := sale.Info{
		ID: r.text("id"), Revision: r.number("revision"), Paused: r.truth("paused"), Closed: r.truth("closed"),
		Forgotten: r.truth("forgotten"), Stock: r.number("stock"), Limit: r.number("limit"), OpensAt: r.number("opens_at"),
		EndsAt: r.number("ends_at"), NextReleaseAt: r.number("next_release_at"), HoldForMillis: r.number("hold_for_ms"),
		RetainForMillis: r.number("retain_for_ms"), Alloc: r.number("alloc"), Taken: r.number("taken"), Given: r.number("given"),
		Scheduled: r.number("scheduled"), Available: r.number("available"), Held: r.number("held"),
		Confirmed: r.number("confirmed"), Debt: r.number("debt"), ReleasedTotal: r.number("released_total"),
		ExpiredTotal: r.number("expired_total"), SupplyVersion: r.number("supply_version"), Now: r.number("now"),
	}
	if names := r.text("shards"); names != "" {
		info.Shards = strings.Split(names, ",")
	}
	load := r.text("ring_load")
	info.Ring = sale.Ring{Partitions: int(r.number("ring_partitions")), Replicas: int(r.number("ring_replicas"))}
	var err error
	if info.Ring.Load, err = strconv.ParseFloat(load, 64); err != nil && r.err == nil {
		r.err = malformed("field ring_load is %q, not a number", load)
	}
	return info
}

func readReservation(m rueidis.RedisMessage) (Reservation, error) {
	parts, err := readArray(m, 6)
	if err != nil {
		return Reservation{}, err
	}
	if len(parts) != 2 && len(parts) != 6 {
		return Reservation{}, malformed("a reservation of %d elements", len(parts))
	}
	var r Reservation
	if r.Code, err = parts[0].ToString(); err != nil {
		return Reservation{}, malformed("a reservation's code: %v", err)
	}
	if len(parts) == 2 {
		if !isRefusal(r.Code) {
			return Reservation{}, malformed("refusal %q", r.Code)
		}
		if r.Detail, err = parts[1].AsInt64(); err != nil {
			return Reservation{}, malformed("a refusal's detail: %v", err)
		}
		return r, nil
	}
	return readReserved(r, parts)
}

func readReserved(r Reservation, parts []rueidis.RedisMessage) (Reservation, error) {
	if r.Refused() {
		return Reservation{}, malformed("reservation code %q", r.Code)
	}
	id, idErr := parts[1].ToString()
	state, stateErr := parts[2].ToString()
	if idErr != nil || stateErr != nil {
		return Reservation{}, malformed("a reservation without order or state")
	}
	var err error
	if r.Order, err = sale.ParseOrderID(id); err != nil {
		return Reservation{}, malformed("a reservation's order %q", id)
	}
	if r.State, err = sale.ParseHoldState(state); err != nil {
		return Reservation{}, malformed("a reservation's state %q", state)
	}
	for i, field := range []*int64{&r.Quantity, &r.Slot, &r.ExpiresAt} {
		if *field, err = parts[3+i].AsInt64(); err != nil {
			return Reservation{}, malformed("a reservation's element %d: %v", 3+i, err)
		}
	}
	return r, nil
}

func isRefusal(code string) bool {
	switch code {
	case CodeNoSale, CodePaused, CodeNotOpen, CodeEnded, CodeLimit, CodeSoldOut, CodeInsufficient:
		return true
	}
	return false
}

// oneOf reads a word that must be one of those known.
func oneOf(m rueidis.RedisMessage, words ...string) (string, error) {
	word, err := m.ToString()
	if err != nil {
		return "", malformed("want a word: %v", err)
	}
	for _, w := range words {
		if w == word {
			return word, nil
		}
	}
	return "", malformed("word %q", word)
}

func readRules(m rueidis.RedisMessage) (Rules, error) {
	parts, err := readArray(m, 4)
	if err != nil || len(parts) != 4 {
		return Rules{}, malformed("rules of %d elements", len(parts))
	}
	kind, err := oneOf(parts[0], "full", "delta")
	if err != nil {
		return Rules{}, err
	}
	rules := Rules{Full: kind == "full"}
	index, indexErr := parts[1].AsInt64()
	now, nowErr := parts[2].AsInt64()
	rows, err := readArray(parts[3], maxRows)
	if indexErr != nil || nowErr != nil || err != nil {
		return Rules{}, malformed("rules without index, time or changes")
	}
	rules.Index, rules.Now = index, now
	for _, r := range rows {
		rule, err := readRule(r)
		if err != nil {
			return Rules{}, err
		}
		rules.Changes = append(rules.Changes, rule)
	}
	return rules, nil
}

func readRule(m rueidis.RedisMessage) (Rule, error) {
	parts, err := readArray(m, 7)
	if err != nil || len(parts) != 7 {
		return Rule{}, malformed("a rule of %d elements", len(parts))
	}
	var rule Rule
	if rule.Kind, err = oneOf(parts[0], RuleUser, RuleAddress, RuleToken); err != nil {
		return Rule{}, err
	}
	value, valueErr := parts[1].ToString()
	reason, reasonErr := parts[6].ToString()
	var removed int64
	for i, field := range []*int64{&rule.Index, &rule.Until, &rule.Before, &removed} {
		if *field, err = parts[2+i].AsInt64(); err != nil {
			return Rule{}, malformed("a rule's element %d: %v", 2+i, err)
		}
	}
	if valueErr != nil || reasonErr != nil {
		return Rule{}, malformed("a rule without value or reason")
	}
	rule.Value, rule.Reason, rule.Removed = value, reason, removed != 0
	return rule, nil
}
