package rehearse

import (
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// action is what a buyer sends.
type action uint8

const (
	press  action = iota // POST the order
	look                 // GET his order
	pay                  // POST its payment, which gives a page
	page                 // POST the page: the sandbox takes the money
	cancel               // POST its cancellation
	actions
)

var actionNames = [actions]string{press: "press", look: "look", pay: "pay", page: "pay page", cancel: "cancel"}

func (a action) String() string { return actionNames[a] }

// errand is an action of a buyer at a moment, in time since the start.
type errand struct {
	buyer int32
	do    action
	at    time.Duration
}

// Bounds of a buyer's patience.
const (
	maxFollowUps = 60 // looks, payments and cancellations, each with their repetitions
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 8 * time.Second
	maxRetryWait = 30 * time.Second // whatever Retry-After says
	lookAgain    = 700 * time.Millisecond
	// openingSlack is how much after the announced opening an eager buyer presses: clocks differ.
	openingSlack = 20 * time.Millisecond
)

// buyer is one buyer as the crowd goes on. Only the crowd's own goroutine touches it.
type buyer struct {
	plan Buyer

	order     sale.OrderID // what he was told that he has
	ticket    string
	cookie    string
	page      string
	under     int8 // presses under way
	pressed   int
	follows   int
	backOffs  int
	comebacks int
	pageTaken bool // the pay page took his money
	gone      bool // nothing more to do

	// Of the presses that are under way together.
	soldOut bool
	notOpen time.Duration // when it opens, as he was told
	wait    time.Duration // how long he was told to wait
	unheard bool          // one had no answer of Headgate's
}

// reaction is what a buyer does next. It is what makes the crowd an honest one: he waits as long as he is
// told, repeats an unknown outcome with its ticket, and gives up some time.
func (b *buyer) reaction(e errand, a *answer, now time.Duration, random float64, start time.Time) []errand {
	if a.cookie != "" {
		b.cookie = a.cookie
	}
	if e.do == press {
		return b.afterPress(e, a, now, random, start)
	}
	return b.afterFollowUp(e, a, now, random)
}

func (b *buyer) afterPress(e errand, a *answer, now time.Duration, random float64, start time.Time) []errand {
	b.under--
	b.note(a, start)
	if a.order != 0 && a.definite() && (a.status == 202 || a.code == string(problem.AlreadyOrdered)) && b.order == 0 {
		b.order = a.order
		return b.begins(e, now)
	}
	if b.plan.Kind == Bot || b.under > 0 || b.order != 0 || b.gone {
		return nil
	}
	at, again := b.again(now, random)
	if !again || b.pressed >= b.plan.Presses {
		b.gone = true
		return nil
	}
	return []errand{{e.buyer, press, at}}
}

// note keeps what matters of an answer until the last of the presses under way is answered.
func (b *buyer) note(a *answer, start time.Time) {
	if a.ticket != "" {
		b.ticket = a.ticket
	}
	switch {
	case !a.definite():
		b.unheard = true
	case a.code == string(problem.SoldOut):
		b.soldOut = true
	case a.code == string(problem.NotOpen):
		b.notOpen = max(time.UnixMilli(a.opensAt).Sub(start), 1)
	case a.retryAfter > 0:
		b.wait = max(b.wait, a.retryAfter)
	}
}

// again says when to press again, if at all, once nothing is under way.
func (b *buyer) again(now time.Duration, random float64) (time.Duration, bool) {
	soldOut, notOpen, wait, unheard := b.soldOut, b.notOpen, b.wait, b.unheard
	b.soldOut, b.notOpen, b.wait, b.unheard = false, 0, 0, false
	jitter := time.Duration(random * float64(200*time.Millisecond))
	switch {
	case unheard:
		b.backOffs++
		back := min(firstBackOff<<min(b.backOffs-1, 10), maxBackOff)
		return now + max(wait, back/2+time.Duration(random*float64(back/2))), true
	case wait > 0:
		b.backOffs = 0
		return now + min(wait, maxRetryWait) + jitter, true
	case notOpen > 0:
		return max(now+firstBackOff/2, notOpen+openingSlack+b.plan.Think), true
	case soldOut && b.comebacks < b.plan.Comebacks:
		b.comebacks++
		b.ticket = ""
		return now + b.plan.ComesBack + jitter, true
	}
	return 0, false
}

// begins is what a buyer does with a yes, after some thought.
func (b *buyer) begins(e errand, now time.Duration) []errand {
	if b.plan.Kind != Probe && b.plan.After == Abandons {
		b.gone = true
		return nil
	}
	return []errand{{e.buyer, look, now + lookAgain/2 + b.plan.Think}}
}

// afterFollowUp leads an order from its queue to the end that its buyer wants.
func (b *buyer) afterFollowUp(e errand, a *answer, now time.Duration, random float64) []errand {
	b.follows++
	if b.follows >= maxFollowUps || b.gone {
		b.gone = true
		return nil
	}
	next := func(do action, after time.Duration) []errand { return []errand{{e.buyer, do, now + after}} }
	patient := lookAgain + time.Duration(random*float64(lookAgain/2))
	switch {
	case !a.definite() || a.status == 429 || a.status == 503:
		b.backOffs++
		return next(e.do, max(min(a.retryAfter, maxRetryWait), patient))
	case a.status == 403:
		b.gone = true // a bot that is banned: its order is abandoned
		return nil
	case e.do == look && a.status == 200:
		return b.looked(a, next, patient)
	case e.do == pay && a.page != "":
		b.page = a.page
		return next(page, 0)
	case e.do == page && a.status == 200:
		b.pageTaken = true
		return next(look, patient)
	case e.do == pay || e.do == page || e.do == cancel && a.status != 200:
		return next(look, patient) // too late, or not yet: the order itself tells
	}
	b.gone = true // cancelled, or nobody's order: the verdict looks into it
	return nil
}

func (b *buyer) looked(a *answer, next func(action, time.Duration) []errand, patient time.Duration) []errand {
	switch {
	case a.state == sale.Pending || a.state == sale.Queued:
		return next(look, patient)
	case b.plan.Kind == Probe || a.state != sale.Unpaid:
		b.gone = true
		return nil
	case b.pageTaken:
		return next(look, patient) // the callback is on its way
	case b.plan.After == Pays:
		return next(pay, 0)
	}
	return next(cancel, 0)
}
