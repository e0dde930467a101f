package interceptor

import (
	"cmp"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/interceptor/ratelimit"
)

// The kinds of a user's budgets.
const (
	budgetPress = iota // orders
	budgetRetry        // repeated orders
	budgetCalls        // everything else
	userBudgets
)

// retryInterval is the least time between two retries of one user.
const retryInterval = time.Second

// The limits, as stages, metrics and RateLimit name them.
const (
	limitNode     = stageNodeBucket
	limitAddress  = stageAddress
	limitInterval = stageUserInterval
	limitRetry    = "user_retry"
	limitUser     = stageUserBucket
	limitRoute    = stageRouteBucket
	limitQueue    = stageRouteQueue
)

// limit is a rule that is not off, ready for use.
type limit struct {
	rate     ratelimit.Rate
	shadow   bool
	key      uint64 // of a rule for addresses, to tell its balances from those of others
	item     string // of RateLimit: "name"
	policy   string // of RateLimit-Policy: "name";q=quota;w=window
	refusals *counter
}

// bucket is a limit that all callers share.
type bucket struct {
	*limit
	tokens *ratelimit.Bucket
	rule   BucketRule
}

// queue is a leaky bucket, of a route. In shadow it is a token bucket as large as the queue would be.
type queue struct {
	*limit
	rule    QueueRule
	waiters *ratelimit.Queue
	shadows *ratelimit.Bucket
	waits   *metrics.PrometheusHistogram
	gaveUp  *metrics.Counter
}

// limiters hold the balances of all limits. They outlive plans: a plan finds them by the names of its
// rules and routes.
type limiters struct {
	users       *ratelimit.Budgets // the kinds are budgetPress and so on
	addresses   *ratelimit.Budgets // one kind, by rule and address
	addressKeys ratelimit.AddressHasher

	mu      sync.Mutex                   // of the maps, which only building and applying plans change
	buckets map[string]*ratelimit.Bucket // of the node: "", of routes, by name
	shadows map[string]*ratelimit.Bucket // of queues in shadow, by route
	queues  map[string]*ratelimit.Queue
}

func newLimiters(l *Limits) (*limiters, error) {
	m := &limiters{addressKeys: ratelimit.NewAddressHasher(), buckets: map[string]*ratelimit.Bucket{},
		shadows: map[string]*ratelimit.Bucket{}, queues: map[string]*ratelimit.Queue{}}
	var err error
	if m.users, err = ratelimit.NewBudgets(userBudgets, l.MaxTrackedUsers); err != nil {
		return nil, err
	}
	m.addresses, err = ratelimit.NewBudgets(1, l.MaxTrackedAddresses)
	return m, err
}

// sweep forgets the budgets that are full.
func (m *limiters) sweep(now int64) {
	m.users.Sweep(now)
	m.addresses.Sweep(now)
}

// waiting is how many requests wait in queues.
func (m *limiters) waiting() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		n += q.Waiting()
	}
	return n
}

// planLimits are the limits of a plan; nil: off.
type planLimits struct {
	node    *bucket
	address *limit
	users   [userBudgets]*limit
}

// routeLimits are the limits of a route; nil: off.
type routeLimits struct {
	bucket  *bucket
	address *limit
	queue   *queue
}

// prepareLimits builds the limits that hold for all routes.
func (p *plan) prepareLimits(s *Server) (err error) {
	l := &p.cfg.Limits
	b := limitBuilder{s: s}
	p.limits.node = b.bucket(limitNode, "", &l.NodeBucket)
	p.limits.address = b.addresses("", &l.AddressBucket)
	p.limits.users[budgetPress] = b.interval(limitInterval, l.UserInterval.Mode, l.UserInterval.Every)
	p.limits.users[budgetRetry] = b.interval(limitRetry, l.UserInterval.Mode, retryInterval)
	p.limits.users[budgetCalls] = b.rates(limitUser, "", &l.UserBucket)
	for i := range p.routes {
		r := &p.routes[i]
		r.limits = routeLimits{bucket: b.bucket(limitRoute, r.Name, r.Bucket), address: b.addresses(r.Name, r.AddressBucket), queue: b.queue(r.Name, r.Queue)}
	}
	return b.err
}

// limitBuilder makes limits of rules, and keeps the first error.
type limitBuilder struct {
	s   *Server
	err error
}

func (b *limitBuilder) limit(name, route, mode string, r ratelimit.Rate, err error) *limit {
	if err != nil {
		b.err = cmp.Or(b.err, fmt.Errorf("limit %s of route %q: %w", name, route, err))
		return nil
	}
	mode = cmp.Or(mode, ModeEnforce)
	return &limit{rate: r, shadow: mode == ModeShadow, item: fmt.Sprintf("%q", name),
		policy:   policyOf(name, r),
		refusals: b.s.figures.limitRefusals(name, route, mode)}
}

// policyOf is a limit's item in RateLimit-Policy: its quota in a window of whole seconds. A budget that
// fills sooner than in one second is told as what a second gives.
func policyOf(name string, r ratelimit.Rate) string {
	quota, window := r.Burst(), r.Window()
	if window < time.Second {
		quota = int64(float64(quota) * float64(time.Second) / float64(window))
	}
	return fmt.Sprintf("%q;q=%d;w=%d", name, quota, seconds(window))
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func (b *limitBuilder) interval(name, mode string, every time.Duration) *limit {
	if mode == ModeOff {
		return nil
	}
	r, err := ratelimit.NewRate(every, 1)
	return b.limit(name, "", mode, r, err)
}

func (b *limitBuilder) rates(name, route string, rule *BucketRule) *limit {
	if rule == nil || rule.Mode == ModeOff {
		return nil
	}
	r, err := ratelimit.PerSecond(rule.Rate, int64(rule.Burst))
	return b.limit(name, route, rule.Mode, r, err)
}

func (b *limitBuilder) addresses(route string, rule *BucketRule) *limit {
	l := b.rates(limitAddress, route, rule)
	if l != nil {
		l.key = b.s.limiters.addressKeys.Rule(route)
	}
	return l
}

func (b *limitBuilder) bucket(name, route string, rule *BucketRule) *bucket {
	l := b.rates(name, route, rule)
	if l == nil {
		return nil
	}
	return &bucket{limit: l, rule: *rule, tokens: b.s.limiters.tokens(b.s.limiters.buckets, route, rule.Rate, rule.Burst)}
}

func (b *limitBuilder) queue(route string, rule *QueueRule) *queue {
	if rule == nil || rule.Mode == ModeOff {
		return nil
	}
	r, err := ratelimit.PerSecond(rule.Rate, 1)
	l := b.limit(limitQueue, route, rule.Mode, r, err)
	if l == nil {
		return nil
	}
	waiters, err := b.s.limiters.line(route, rule.limits())
	if err != nil {
		b.err = cmp.Or(b.err, fmt.Errorf("queue of route %q: %w", route, err))
	}
	return &queue{limit: l, rule: *rule, waiters: waiters, waits: b.s.figures.queueWaits(route), gaveUp: b.s.figures.queueGaveUp(route),
		shadows: b.s.limiters.tokens(b.s.limiters.shadows, route, rule.Rate, rule.places())}
}

// tokens gives the bucket of a name, and makes it, full, when there is none.
func (m *limiters) tokens(of map[string]*ratelimit.Bucket, name string, perSecond float64, burst int) *ratelimit.Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of[name] == nil {
		of[name] = ratelimit.NewBucket(perSecond, burst)
	}
	return of[name]
}

// line gives the queue of a route, and makes it when there is none; the limits are checked either way.
func (m *limiters) line(route string, l ratelimit.QueueLimits) (*ratelimit.Queue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.queues[route]; q != nil {
		return q, l.Check()
	}
	q, err := ratelimit.NewQueue(l)
	if err == nil {
		m.queues[route] = q
	}
	return q, err
}

// apply makes the plan's rules hold for the balances that there are, and forgets those of rules that
// are gone. Balances in units stay as they are, within the new bounds; a budget of a user or an address
// is a time, and is read by whichever rule holds.
func (m *limiters) apply(p *plan, now time.Time) {
	m.users.SetMaxKeys(p.cfg.Limits.MaxTrackedUsers)
	m.addresses.SetMaxKeys(p.cfg.Limits.MaxTrackedAddresses)
	buckets, shadows, queues := map[string]*ratelimit.Bucket{}, map[string]*ratelimit.Bucket{}, map[string]*ratelimit.Queue{}
	set := func(in map[string]*ratelimit.Bucket, name string, tokens *ratelimit.Bucket, perSecond float64, burst int) {
		tokens.Set(now, perSecond, burst)
		in[name] = tokens
	}
	if b := p.limits.node; b != nil {
		set(buckets, "", b.tokens, b.rule.Rate, b.rule.Burst)
	}
	for i := range p.routes {
		r := &p.routes[i]
		if b := r.limits.bucket; b != nil {
			set(buckets, r.Name, b.tokens, b.rule.Rate, b.rule.Burst)
		}
		if q := r.limits.queue; q != nil {
			set(shadows, r.Name, q.shadows, q.rule.Rate, q.rule.places())
			q.waiters.SetLimits(q.rule.limits())
			queues[r.Name] = q.waiters
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buckets, m.shadows, m.queues = buckets, shadows, queues
}

// places is how many requests the queue takes at once: who finds room and need not wait too long, and
// the one who need not wait.
func (r *QueueRule) places() int {
	return 1 + min(r.Length, int(math.Min(maxQueue, r.MaxWait.Seconds()*r.Rate)))
}
