package rehearse

import (
	"fmt"
	"testing"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// refused is Headgate's refusal with a code.
func refused(code problem.Code, retryAfter time.Duration) *answer {
	return &answer{status: code.Status(), code: string(code), retryAfter: retryAfter}
}

func sold(id sale.OrderID) *answer {
	return &answer{status: 202, order: id, state: sale.Queued}
}

// meets lets a buyer who presses at 10 s get one answer after the other, and tells what he did and when, as
// "press +1s".
func meets(b *buyer, answers ...*answer) []string {
	start := time.UnixMilli(1_800_000_000_000)
	now := 10 * time.Second
	next := []errand{{do: press, at: now}}
	var did []string
	for _, a := range answers {
		if len(next) == 0 {
			return append(did, "nothing")
		}
		e := next[0]
		if e.do == press {
			b.pressed++
			b.under++
		}
		now = e.at
		next = b.reaction(e, a, now, 0, start)
		if len(next) > 0 {
			did = append(did, fmt.Sprintf("%s +%s", next[0].do, (next[0].at-now).Round(10*time.Millisecond)))
		}
	}
	if len(next) == 0 {
		did = append(did, "nothing")
	}
	return did
}

func TestWhatABuyerDoesWithAnAnswer(t *testing.T) {
	opens := &answer{status: 409, code: "not_open", opensAt: 1_800_000_015_000}
	unknown := refused(problem.UnknownOutcome, 2*time.Second)
	unknown.ticket, unknown.order = "v1.t", 7
	has := refused(problem.AlreadyOrdered, 0)
	has.order = 7
	unpaid, queued, paid := &answer{status: 200, state: sale.Unpaid, order: 7}, &answer{status: 200, state: sale.Queued, order: 7}, &answer{status: 200, state: sale.Paid, order: 7}
	nothing := &answer{failure: "timed out"}
	gateway := &answer{status: 502}
	for name, c := range map[string]struct {
		plan    Buyer
		answers []*answer
		want    string
	}{
		"sold out is the end":                 {Buyer{Presses: 9}, []*answer{refused(problem.SoldOut, 0)}, "[nothing]"},
		"unless he comes back":                {Buyer{Presses: 9, Comebacks: 1, ComesBack: 5 * time.Second}, []*answer{refused(problem.SoldOut, 0), refused(problem.SoldOut, 0)}, "[press +5s nothing]"},
		"Retry-After is waited for":           {Buyer{Presses: 9}, []*answer{refused(problem.TooSoon, time.Second), refused(problem.Overloaded, 3*time.Second)}, "[press +1s press +3s]"},
		"no longer than is sensible":          {Buyer{Presses: 9}, []*answer{refused(problem.Unavailable, time.Hour)}, "[press +30s]"},
		"without an answer he backs off":      {Buyer{Presses: 9}, []*answer{nothing, gateway, nothing}, "[press +250ms press +500ms press +1s]"},
		"he gives up some time":               {Buyer{Presses: 2}, []*answer{nothing, nothing}, "[press +250ms nothing]"},
		"too early, he comes when it opens":   {Buyer{Presses: 9, Think: time.Second}, []*answer{opens}, "[press +6.02s]"},
		"an unknown outcome is asked again":   {Buyer{Presses: 9}, []*answer{unknown, sold(7)}, "[press +2s nothing]"},
		"an order that he has is an order":    {Buyer{Presses: 9, After: Pays}, []*answer{nothing, has}, "[press +250ms look +350ms]"},
		"he abandons":                         {Buyer{Presses: 9, After: Abandons}, []*answer{sold(7)}, "[nothing]"},
		"he cancels once it is in the ledger": {Buyer{Presses: 9, After: Cancels, Think: time.Second}, []*answer{sold(7), queued, unpaid, {status: 200, state: sale.Cancelled}}, "[look +1.35s look +700ms cancel +0s nothing]"},
		"he pays": {Buyer{Presses: 9, After: Pays}, []*answer{sold(7), unpaid, {status: 200, page: "/sandbox/pay?x"}, {status: 200}, unpaid, paid},
			"[look +350ms pay +0s pay page +0s look +700ms look +700ms nothing]"},
		"a page that is away is asked again":      {Buyer{Presses: 9, After: Pays}, []*answer{sold(7), unpaid, refused(problem.Unavailable, 2*time.Second), nothing}, "[look +350ms pay +0s pay +2s pay +700ms]"},
		"a cancellation that comes too late ends": {Buyer{Presses: 9, After: Cancels}, []*answer{sold(7), unpaid, refused(problem.NotCancellable, 0), paid}, "[look +350ms cancel +0s look +700ms nothing]"},
		"a bot goes by its plan only":             {Buyer{Presses: 9, Kind: Bot}, []*answer{refused(problem.TooSoon, time.Second)}, "[nothing]"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &buyer{plan: c.plan}
			if got := fmt.Sprint(meets(b, c.answers...)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Of two presses at the same instant the yes counts, whichever comes first, and nothing is repeated before both
// are answered.
func TestTwoPressesAtOnce(t *testing.T) {
	for _, answers := range [][]*answer{{sold(7), refused(problem.TooSoon, time.Second)}, {refused(problem.TooSoon, time.Second), sold(7)}} {
		b := &buyer{plan: Buyer{Presses: 9, Kind: Double, After: Pays}, pressed: 1, under: 2}
		var next []errand
		for _, a := range answers {
			next = append(next, b.reaction(errand{do: press}, a, time.Second, 0, time.Now())...)
		}
		if len(next) != 1 || next[0].do != look || b.order != 7 {
			t.Errorf("next %+v, order %s", next, b.order)
		}
	}
	b := &buyer{plan: Buyer{Presses: 9, Kind: Double}, pressed: 1, under: 2}
	if next := b.reaction(errand{do: press}, &answer{failure: "timed out"}, time.Second, 0, time.Now()); next != nil {
		t.Errorf("pressed again while the second press was under way: %+v", next)
	}
	if next := b.reaction(errand{do: press}, refused(problem.TooSoon, 2*time.Second), time.Second, 0, time.Now()); len(next) != 1 || next[0].at < 3*time.Second {
		t.Errorf("%+v", next)
	}
}
