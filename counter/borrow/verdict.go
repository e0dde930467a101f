package borrow

import (
	"time"

	"headgate.example/counter/machine"
)

// Verdict is what a double collect found over all shards. It does not change, so that those who refuse by
// it need no lock. A nil one knows nothing. Times are those of the broker's events.
type Verdict struct {
	since       time.Duration // when the first pass began
	renewAt     time.Duration
	until       time.Duration
	supply      int64 // this shard's supply version then
	incarnation int64 // and its incarnation
	available   int64 // over all shards
	scheduled   int64
	held        int64
	next        int64 // wall ms of the next staged release; 0: none
}

// Refuse answers somebody who wants more than this shard has, whose sale has this incarnation and supply
// version now. False: it is not known whether all shards together have enough, so the buyer has to wait
// (an event Dry).
func (v *Verdict) Refuse(now time.Duration, incarnation, supply, quantity int64) (machine.Result, bool) {
	if !v.holds(now, incarnation, supply) {
		return machine.Result{}, false
	}
	return v.refusal(quantity)
}

// Aging tells whether whoever refuses by it should bring an event Renew, so that the next one is there
// before this one's time is over, and nobody has to wait for it.
func (v *Verdict) Aging(now time.Duration) bool { return v != nil && now >= v.renewAt }

// Since is when the double collect began: what the verdict says was true at some moment since then.
func (v *Verdict) Since() time.Duration {
	if v == nil {
		return 0
	}
	return v.since
}

// holds tells whether the verdict may still be used: it is recent, and nothing has come to this shard.
func (v *Verdict) holds(now time.Duration, incarnation, supply int64) bool {
	return v != nil && now < v.until && supply == v.supply && incarnation == v.incarnation
}

// nothing tells whether no shard had anything to pay a debt with.
func (v *Verdict) nothing() bool { return v.available == 0 && v.scheduled == 0 }

// refusal is the answer to somebody who wants more than all shards have.
func (v *Verdict) refusal(quantity int64) (machine.Result, bool) {
	switch {
	case quantity <= v.available:
		return machine.Result{}, false
	case v.available > 0:
		return machine.Result{Code: machine.CodeInsufficient, Detail: v.available}, true
	case v.scheduled > 0:
		return machine.Result{Code: machine.CodeNotOpen, Detail: v.next}, true
	}
	return machine.Result{Code: machine.CodeSoldOut, Detail: v.held}, true
}
