package rehearse

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// Press is one press and what it got, for the verdict and the figures. Times are since the start.
type Press struct {
	Buyer    int32
	Intended time.Duration // when the plan, or what the buyer was told, had it sent
	Sent     time.Duration
	At       time.Duration // of its answer, or of giving up
	Status   int           // 0: no answer
	Code     string
	Order    sale.OrderID
	Broken   string
	Failure  string
	Waited   bool // every connection was busy when its time came
	Ticketed bool // a retry that names its order
}

func (p *Press) answered() bool { return p.Status != 0 && p.Broken == "" && !p.foreign() }
func (p *Press) foreign() bool  { return p.Status >= 300 && p.Code == "" }
func (p *Press) yes() bool      { return p.Status == 202 && p.Broken == "" }

// promises reports that its buyer was told that an order is his.
func (p *Press) promises() bool {
	return p.yes() || p.answered() && p.Code == string(problem.AlreadyOrdered) && p.Order != 0
}

// Deed is what a buyer did with an order, as he was answered.
type Deed struct {
	Buyer int32
	Order sale.OrderID
	At    time.Duration
}

// crowd is the open-loop sender. One goroutine, run's caller, owns buyers, errands and the log; senders
// carry one request each and come back with its answer.
type crowd struct {
	client  *httpClient
	start   time.Time
	senders int
	sales   []string // by kind of buyer, see saleOf
	buyers  []buyer
	tokens  []string
	random  *rand.Rand
	cookies map[string]string // one copy of each

	queue   errands
	ready   []errand // due and not sent yet, in order
	head    int
	waits   []bool // of ready: no sender was free when it became due
	busy    int
	log     []Press
	pages   []Deed // pay pages that took the money
	asked   []Deed // cancellations, answered or not
	looks   []Look
	follows map[string]int // answers to what is no press: "pay 200"
	limit   time.Duration  // no press begins later
	figures *Progress
}

// Look is what a probe's buyer was told of its order.
type Look struct {
	Buyer int32
	At    time.Duration
	State sale.OrderState
}

// maxLooks bounds what is kept of looks.
const maxLooks = 1 << 20

// job is an errand with the request that it takes; done what came of it.
type job struct {
	errand
	request
	waited bool
}

type done struct {
	job
	answer
	sent, back time.Duration
}

func newCrowd(client *httpClient, senders int, start time.Time, seed uint64, figures *Progress) *crowd {
	return &crowd{
		client: client, start: start, senders: senders, random: rand.New(rand.NewPCG(seed, crowdStream+100)),
		cookies: map[string]string{}, follows: map[string]int{}, figures: figures,
	}
}

// add makes more buyers known, with a token each, and gives the number of the first.
func (c *crowd) add(plans []Buyer, tokens []string) int32 {
	first := len(c.buyers)
	for i := range plans {
		c.buyers = append(c.buyers, buyer{plan: plans[i]})
	}
	c.tokens = append(c.tokens, tokens...)
	return int32(first)
}

// come lets buyers arrive, each at a moment of his own.
func (c *crowd) come(first int32, at func(i int) time.Duration, count int) {
	for i := range count {
		heap.Push(&c.queue, errand{first + int32(i), press, at(i)})
	}
}

// run sends until nothing is left to do, or ctx is done: then only what is under way is waited for. After
// limit nobody presses again; what orders need goes on until giveUp.
func (c *crowd) run(ctx context.Context, limit, giveUp time.Duration) error {
	c.limit = limit
	jobs, results := make(chan job), make(chan done, c.senders)
	var senders sync.WaitGroup
	for range c.senders {
		senders.Go(func() {
			for j := range jobs {
				sent := time.Since(c.start)
				a := c.client.do(&j.request)
				results <- done{j, a, sent, time.Since(c.start)}
			}
		})
	}
	defer senders.Wait()
	defer close(jobs)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next job
	made := false // next is the request of the first that is ready
	for {
		now := time.Since(c.start)
		stopped := ctx.Err() != nil || now > giveUp
		if stopped {
			c.queue, c.ready, c.waits, c.head, made = nil, nil, nil, 0, false
		}
		c.due(now)
		if c.head == len(c.ready) && len(c.queue) == 0 && c.busy == 0 {
			return ctx.Err()
		}
		var give chan<- job
		if c.head < len(c.ready) && c.busy < c.senders {
			if give = jobs; !made {
				next, made = c.job(c.ready[c.head], c.waits[c.head]), true
			}
		}
		timer.Reset(c.untilNext(now))
		select {
		case give <- next:
			made = false
			c.head++
			c.busy++
			c.figures.sent(next.do)
		case d := <-results:
			c.busy--
			c.take(&d)
		case <-timer.C:
		}
	}
}

// due moves what is due to the ready list, in its order.
func (c *crowd) due(now time.Duration) {
	if c.head > 4096 && c.head > len(c.ready)/2 {
		c.ready = append(c.ready[:0], c.ready[c.head:]...)
		c.waits = append(c.waits[:0], c.waits[c.head:]...)
		c.head = 0
	}
	for len(c.queue) > 0 && c.queue[0].at <= now {
		e := heap.Pop(&c.queue).(errand) //nolint:forcetypeassert // nothing else is pushed
		times := 1
		if e.do == press {
			if !c.starts(&e, now) {
				continue
			}
			if b := &c.buyers[e.buyer]; b.plan.Kind == Double && b.pressed == 1 {
				times, b.under = 2, b.under+1
			}
		}
		for range times {
			c.waits = append(c.waits, c.busy+len(c.ready)-c.head >= c.senders)
			c.ready = append(c.ready, e)
		}
	}
	c.figures.late(len(c.ready)-c.head, c.busy)
}

// starts counts a press, and plans a bot's next.
func (c *crowd) starts(e *errand, now time.Duration) bool {
	b := &c.buyers[e.buyer]
	if b.gone && b.plan.Kind != Bot || e.at > c.limit {
		b.gone = true
		return false
	}
	b.pressed++
	b.under++
	if b.plan.Kind == Bot && b.pressed < b.plan.Presses {
		heap.Push(&c.queue, errand{e.buyer, press, e.at + b.plan.Every})
	}
	return true
}

// untilNext is how long nothing becomes due.
func (c *crowd) untilNext(now time.Duration) time.Duration {
	if len(c.queue) == 0 {
		return time.Second
	}
	return min(max(c.queue[0].at-now, 0), time.Second)
}

// job makes the request of an errand.
func (c *crowd) job(e errand, waited bool) job {
	b := &c.buyers[e.buyer]
	j := job{errand: e, waited: waited, request: request{token: c.tokens[e.buyer], cookie: b.cookie, post: e.do != look}}
	order := "/api/orders/" + b.order.String()
	switch e.do {
	case press:
		j.target, j.body, j.order, j.ticket = "/api/sales/"+url.PathEscape(c.saleOf(b.plan.Kind))+"/orders", `{"quantity":1}`, true, b.ticket
	case look:
		j.target = order
	case pay:
		j.target = order + "/pay"
	case page:
		j.target = b.page
	case cancel:
		j.target = order + "/cancel"
	}
	return j
}

func (c *crowd) saleOf(kind Kind) string {
	if kind == Probe {
		return c.sales[1]
	}
	return c.sales[0]
}

// take notes an answer and asks the buyer what he does next.
func (c *crowd) take(d *done) {
	b := &c.buyers[d.buyer]
	if d.cookie != "" {
		if kept, known := c.cookies[d.cookie]; known {
			d.cookie = kept
		} else if len(c.cookies) < 1000 {
			c.cookies[d.cookie] = d.cookie
		}
	}
	switch {
	case d.do == press:
		c.log = append(c.log, Press{
			Buyer: d.buyer, Intended: d.at, Sent: d.sent, At: d.back, Status: d.status, Code: d.code, Order: d.answer.order,
			Broken: d.broken, Failure: d.failure, Waited: d.waited, Ticketed: d.request.ticket != "",
		})
		c.figures.answered(&c.log[len(c.log)-1], b.plan.Kind)
	default:
		c.follows[d.do.String()+" "+d.what()]++
		c.followed(d, b)
	}
	for _, e := range b.reaction(d.errand, &d.answer, d.back, c.random.Float64(), c.start) {
		heap.Push(&c.queue, e)
	}
}

func (c *crowd) followed(d *done, b *buyer) {
	deed := Deed{d.buyer, b.order, d.back}
	if d.do == cancel {
		c.asked = append(c.asked, deed)
	}
	switch {
	case d.do == page && d.status == 200:
		c.pages = append(c.pages, deed)
	case d.do == look && d.status == 200 && b.plan.Kind == Probe && len(c.looks) < maxLooks:
		c.looks = append(c.looks, Look{d.buyer, d.back, d.state})
	}
}

// errands is a heap by time; of one moment, by buyer.
type errands []errand

func (h errands) Len() int { return len(h) }
func (h errands) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].buyer < h[j].buyer
}
func (h errands) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *errands) Push(x any)   { *h = append(*h, x.(errand)) } //nolint:forcetypeassert // by this package only
func (h *errands) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
