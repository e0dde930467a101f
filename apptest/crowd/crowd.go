package crowd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// MaxConnections bounds the connections of one crowd.
const MaxConnections = 8000

// Plan says who presses, how and how long.
type Plan struct {
	// Base is the edge, such as http://127.0.0.1:8080. Anything but a loopback address is refused.
	Base string
	Sale string
	// Connections is the most that are open at a time (default 2000, at most MaxConnections).
	Connections int
	// Twice says which buyers press twice at the same instant in the first round; nil: nobody.
	Twice func(buyer int) bool
	// Key gives a buyer's Idempotency-Key; nil or "": none.
	Key func(buyer int) string
	// Rounds is how often a buyer presses again after an answer that is not final (default 1).
	Rounds int
	// Pause is the longest wait between two rounds, whatever Retry-After says (default 1 s).
	Pause time.Duration
	// Timeout bounds one press (default 15 s).
	Timeout time.Duration
	// OnAnswer is called with the number of answers so far, from many goroutines.
	OnAnswer func(count int64)
}

// Answer is what one press got.
type Answer struct {
	Buyer      int // index into the buyers
	Press      int // 0, or 1 for the second of two presses at the same instant
	Round      int
	Sent, At   time.Time // when the press was sent and answered
	Status     int       // HTTP status; 0 when there was no answer
	Code       string    // the refusal's code
	OrderID    string
	Ticket     string
	RetryAfter int    // seconds
	Err        string // why there was no answer, or what it breaks
	Broken     bool   // there was an answer, and it breaks what the API promises
}

// Accepted reports a 202: the buyer was told that the order is taken.
func (a *Answer) Accepted() bool { return a.Status == fasthttp.StatusAccepted }

// Final reports that pressing again can change nothing.
func (a *Answer) Final() bool {
	if a.Broken {
		return true
	}
	switch a.Status {
	case 0, fasthttp.StatusTooManyRequests, fasthttp.StatusServiceUnavailable:
		return false
	}
	return true
}

// What names the answer for a table: the status and the code.
func (a *Answer) What() string {
	switch {
	case a.Broken:
		return "broken answer"
	case a.Err != "":
		return "no answer"
	case a.Code != "":
		return fmt.Sprintf("%d %s", a.Status, a.Code)
	}
	return fmt.Sprint(a.Status)
}

// Report holds every answer, in no particular order.
type Report struct {
	Answers []Answer
	Took    time.Duration
	// Undecided counts buyers whose last answer was not final.
	Undecided int
}

// Counts tells how often each answer was given, by Answer.What.
func (r *Report) Counts() map[string]int {
	counts := make(map[string]int)
	for i := range r.Answers {
		counts[r.Answers[i].What()]++
	}
	return counts
}

type runner struct {
	plan    Plan
	buyers  []Buyer
	client  *fasthttp.HostClient
	url     string
	count   atomic.Int64
	mu      sync.Mutex
	answers []Answer
	tickets []string // the last ticket that each buyer was given
}

// Run lets every buyer press until each has a final answer or the rounds are used up.
func Run(ctx context.Context, plan Plan, buyers []Buyer) (*Report, error) {
	r, err := newRunner(plan, buyers)
	if err != nil {
		return nil, err
	}
	defer r.client.CloseIdleConnections()
	started := time.Now()
	pressing := make([]int, len(buyers))
	for i := range pressing {
		pressing[i] = i
	}
	for round := 0; round < r.plan.Rounds && len(pressing) > 0; round++ {
		again, wait := r.round(ctx, round, pressing)
		pressing = again
		if len(pressing) == 0 || round+1 == r.plan.Rounds {
			break
		}
		timer := time.NewTimer(min(wait, r.plan.Pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return &Report{Answers: r.answers, Took: time.Since(started), Undecided: len(pressing)}, nil
}

func newRunner(plan Plan, buyers []Buyer) (*runner, error) {
	base, err := url.Parse(plan.Base)
	if err != nil || base.Scheme != "http" || base.Host == "" {
		return nil, fmt.Errorf("base: want http://host:port, got %q", plan.Base)
	}
	if ip := net.ParseIP(base.Hostname()); base.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("base: a crowd presses on loopback addresses only, not on %q", base.Hostname())
	}
	if len(buyers) == 0 || len(buyers) > MaxBuyers {
		return nil, fmt.Errorf("buyers: want 1 to %d, got %d", MaxBuyers, len(buyers))
	}
	plan.Connections = or(plan.Connections, 2000)
	plan.Rounds = or(plan.Rounds, 1)
	plan.Pause = or(plan.Pause, time.Second)
	plan.Timeout = or(plan.Timeout, 15*time.Second)
	if plan.Connections < 2 || plan.Connections > MaxConnections {
		return nil, fmt.Errorf("connections: want 2 to %d, got %d", MaxConnections, plan.Connections)
	}
	client := &fasthttp.HostClient{
		Addr: base.Host, MaxConns: plan.Connections, MaxConnWaitTimeout: plan.Timeout,
		ReadTimeout: plan.Timeout, WriteTimeout: plan.Timeout, MaxResponseBodySize: 64 << 10,
		MaxIdemponentCallAttempts: 1, NoDefaultUserAgentHeader: true,
		RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
	}
	return &runner{plan: plan, buyers: buyers, client: client,
		url:     plan.Base + "/api/sales/" + url.PathEscape(plan.Sale) + "/orders",
		answers: make([]Answer, 0, len(buyers)+len(buyers)/4), tickets: make([]string, len(buyers))}, nil
}

func or[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}

// round lets each of the buyers press, and tells who should press again and after what wait.
func (r *runner) round(ctx context.Context, round int, pressing []int) (again []int, wait time.Duration) {
	work := make(chan int)
	var workers sync.WaitGroup
	var mu sync.Mutex
	for range min(r.plan.Connections/2, len(pressing)) {
		workers.Go(func() {
			for buyer := range work {
				last := r.buy(buyer, round)
				if last.Final() {
					continue
				}
				mu.Lock()
				again = append(again, buyer)
				wait = max(wait, time.Duration(last.RetryAfter)*time.Second, 50*time.Millisecond)
				mu.Unlock()
			}
		})
	}
	for i, buyer := range pressing {
		select {
		case work <- buyer:
			continue
		case <-ctx.Done():
			mu.Lock()
			again = append(again, pressing[i:]...)
			mu.Unlock()
		}
		break
	}
	close(work)
	workers.Wait()
	return again, wait
}

// buy is one buyer's press, or two at the same instant. A final answer of either counts.
func (r *runner) buy(buyer, round int) Answer {
	if round > 0 || r.plan.Twice == nil || !r.plan.Twice(buyer) {
		return r.press(buyer, 0, round)
	}
	var second Answer
	var other sync.WaitGroup
	start := make(chan struct{})
	other.Go(func() {
		<-start
		second = r.press(buyer, 1, round)
	})
	close(start)
	first := r.press(buyer, 0, round)
	other.Wait()
	if first.Final() {
		return first
	}
	return second
}

func (r *runner) press(buyer, press, round int) Answer {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(r.url)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.Header.Set("Authorization", "Bearer "+r.buyers[buyer].Token)
	if r.plan.Key != nil {
		if key := r.plan.Key(buyer); key != "" {
			request.Header.Set("Idempotency-Key", key)
		}
	}
	if ticket := r.ticket(buyer); ticket != "" && press == 0 {
		request.Header.Set("Headgate-Ticket", ticket)
	}
	request.SetBodyString(`{"quantity":1}`)

	answer := Answer{Buyer: buyer, Press: press, Round: round, Sent: time.Now()}
	err := r.client.DoDeadline(request, response, answer.Sent.Add(r.plan.Timeout))
	answer.At = time.Now()
	if err == nil {
		err = answer.read(response)
		answer.Broken = err != nil
	}
	if err != nil {
		answer.Err = err.Error()
	}
	r.keep(answer)
	return answer
}

func (r *runner) ticket(buyer int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tickets[buyer]
}

func (r *runner) keep(answer Answer) {
	r.mu.Lock()
	r.answers = append(r.answers, answer)
	if answer.Ticket != "" {
		r.tickets[answer.Buyer] = answer.Ticket
	}
	r.mu.Unlock()
	if count := r.count.Add(1); r.plan.OnAnswer != nil {
		r.plan.OnAnswer(count)
	}
}

var errBody = errors.New("the answer's body is not the JSON that the API promises")
