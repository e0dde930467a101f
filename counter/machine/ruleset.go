package machine

import (
	"cmp"
	"slices"
	"strings"

	"headgate.example/lib/sale"
)

const purgeStep = 60_000 // ended bans are purged at most once in so many wall ms

// ruleSet keeps bans and revocations in the order of their last change.
type ruleSet struct {
	index int64 // of the last change
	floor int64 // changes up to here may be missing from the log: who knows less needs the full list
	// log holds each rule once, ascending by Index; Kind 0 marks a place whose rule has changed since.
	log    []Rule
	at     map[ruleKey]int64 // the Index of each rule and grave in the log
	inUse  int               // rules in force
	graves int               // removed rules still in the log
	// purgeAt is a bound from below for the wall ms at which an ended ban is purged.
	purgeAt int64
}

type ruleKey struct {
	kind  RuleKind
	value string
}

func newRuleSet() ruleSet { return ruleSet{at: make(map[ruleKey]int64), purgeAt: never} }

func (rs *ruleSet) position(index int64) int {
	n, _ := slices.BinarySearchFunc(rs.log, index, func(r Rule, index int64) int { return cmp.Compare(r.Index, index) })
	return n
}

// find gives the latest word on a key; nil when there is none.
func (rs *ruleSet) find(key ruleKey) *Rule {
	index, ok := rs.at[key]
	if !ok {
		return nil
	}
	return &rs.log[rs.position(index)]
}

// change carries out Ban, Unban and Revoke. The command has been validated.
func (rs *ruleSet) change(c *Command, wall int64, limits *limits) Result {
	next := Rule{Kind: c.Rule, Value: c.Value, Reason: c.Reason, Until: c.Until}
	if c.Kind == Revoke {
		next = Rule{Kind: RuleToken, Value: c.User, Before: c.Before}
	}
	if next.Kind == RuleAddress {
		next.Value, _ = canonicalAddress(c.Value) // Validate has read it
	}
	old := rs.find(ruleKey{next.Kind, next.Value})
	inForce := old != nil && !old.Removed
	switch c.Kind {
	case Unban:
		if !inForce {
			return Result{Code: CodeOK, Detail: rs.index}
		}
		next = Rule{Kind: next.Kind, Value: next.Value, Removed: true}
	case Ban:
		if c.Until != 0 && c.Until <= wall {
			return wrong("until", "has passed: it is %d now", wall)
		}
		if inForce && old.Until == next.Until && old.Reason == next.Reason {
			return Result{Code: CodeOK, Detail: rs.index}
		}
	case Revoke:
		if inForce && old.Before >= next.Before {
			return Result{Code: CodeOK, Detail: rs.index}
		}
	}
	if !next.Removed && !inForce && rs.inUse >= limits.rules {
		return busy("value", "this shard keeps its limit of %d rules: remove some", limits.rules)
	}
	rs.put(next)
	rs.dropGraves(limits.graves)
	return Result{Code: CodeOK, Detail: rs.index}
}

// put makes next the latest word on its key.
func (rs *ruleSet) put(next Rule) {
	rs.index++
	next.Index, next.Value, next.Reason = rs.index, strings.Clone(next.Value), strings.Clone(next.Reason)
	rs.take(ruleKey{next.Kind, next.Value})
	rs.append(next)
}

// append enters a rule with an index above all others.
func (rs *ruleSet) append(r Rule) {
	rs.log = append(rs.log, r)
	rs.at[ruleKey{r.Kind, r.Value}] = r.Index
	if r.Removed {
		rs.graves++
		return
	}
	rs.inUse++
	if r.Until != 0 {
		rs.purgeAt = min(rs.purgeAt, purgeTime(r.Until))
	}
}

// take removes a key from the log, leaving a hole.
func (rs *ruleSet) take(key ruleKey) {
	index, ok := rs.at[key]
	if !ok {
		return
	}
	delete(rs.at, key)
	r := &rs.log[rs.position(index)]
	if r.Removed {
		rs.graves--
	} else {
		rs.inUse--
	}
	*r = Rule{Index: index}
	if holes := len(rs.log) - len(rs.at); holes > 64 && holes > len(rs.log)/2 {
		rs.log = slices.DeleteFunc(rs.log, func(r Rule) bool { return r.Kind == 0 })
	}
}

// dropGraves forgets the older half of the removed rules when they are too many.
func (rs *ruleSet) dropGraves(limit int) {
	if rs.graves <= limit {
		return
	}
	keys := make([]ruleKey, 0, limit/2+1)
	for i := range rs.log {
		if r := &rs.log[i]; r.Removed && len(keys) <= limit/2 {
			keys = append(keys, ruleKey{r.Kind, r.Value})
			rs.floor = r.Index
		}
	}
	for _, key := range keys {
		rs.take(key)
	}
}

func purgeTime(until int64) int64 { return (until/purgeStep + 1) * purgeStep }

// purge drops bans that ended. Readers check Until themselves, so they are not told.
func (rs *ruleSet) purge(wall int64) {
	if wall < rs.purgeAt {
		return
	}
	var keys []ruleKey
	rs.purgeAt = never
	for i := range rs.log {
		r := &rs.log[i]
		if r.Kind == 0 || r.Until == 0 {
			continue
		}
		if at := purgeTime(r.Until); at > wall {
			rs.purgeAt = min(rs.purgeAt, at)
		} else {
			keys = append(keys, ruleKey{r.Kind, r.Value})
		}
	}
	for _, key := range keys {
		rs.take(key)
	}
}

// Rules gives what changed after the index since, or everything in force when since is too old, is 0
// or below, or lies ahead of this shard's index (which a restored shard may fall behind). With nothing
// new it costs next to nothing. A full answer has up to MaxRules rules.
func (s *State) Rules(since int64) RuleChanges {
	rs := &s.rules
	changes := RuleChanges{Index: rs.index, Full: since <= 0 || since < rs.floor || since > rs.index}
	from := 0
	if !changes.Full {
		from = rs.position(since + 1)
	}
	for _, r := range rs.log[from:] {
		if r.Kind != 0 && !(changes.Full && r.Removed) {
			changes.Changes = append(changes.Changes, r)
		}
	}
	return changes
}

// check tells whether a rule that was read from a snapshot can have been made by a command.
func (r *Rule) check() error {
	c := Command{Kind: Ban, Rule: r.Kind, Value: r.Value, Reason: r.Reason, Until: r.Until}
	switch {
	case r.Kind == RuleToken && !r.Removed:
		c = Command{Kind: Revoke, User: r.Value, Before: r.Before}
	case r.Removed:
		c.Kind = Unban
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if r.Kind == RuleAddress {
		if text, _ := canonicalAddress(r.Value); text != r.Value {
			return &sale.FieldError{Field: "value", Reason: "is not in canonical form"}
		}
	}
	return nil
}
