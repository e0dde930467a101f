package interceptor

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/lib/problem"
)

const metricPrefix = "headgate_interceptor_"

// figures are the metrics. Labels hold routes, stages and codes only, never users, addresses or sales.
type figures struct {
	set        *metrics.Set
	codes      map[string]int // label -> index in routeFigures
	labels     []string
	none       *routeFigures // of requests that fit no route
	purchases  *metrics.PrometheusHistogram
	suppressed *counter
	fallbacks  *metrics.Counter
	panics     *metrics.Counter
	pollErrors *metrics.Counter
	untracked  *metrics.Counter
	hops       hopFigures

	mu       sync.Mutex
	counters map[string]*counter // by name, with labels
}

// routeFigures are the answers of one route by code. Counters are made when first needed.
type routeFigures struct {
	name     string
	counters []atomic.Pointer[counter]
}

// noRoute is the label of requests that fit no route.
const noRoute = "none"

func newFigures(set *metrics.Set) *figures {
	f := &figures{
		set:        set,
		codes:      map[string]int{},
		counters:   map[string]*counter{},
		purchases:  set.NewPrometheusHistogram(metricPrefix + "purchase_seconds"),
		fallbacks:  set.NewCounter(metricPrefix + "fallbacks_total"),
		panics:     set.NewCounter(metricPrefix + "panics_total"),
		pollErrors: set.NewCounter(metricPrefix + "poll_errors_total"),
		untracked:  set.NewCounter(metricPrefix + "untracked_address_requests_total"),
	}
	f.suppressed = f.counter(metricPrefix + "log_suppressed_total")
	f.hops = newHopFigures(f)
	for _, code := range problem.Codes() {
		f.label(string(code))
	}
	for _, label := range []string{labelAccepted, "1xx", "2xx", "3xx", "4xx", "5xx"} {
		f.label(label)
	}
	f.none = f.route(noRoute)
	return f
}

// route makes the figures of a route. Those of one name count together.
func (f *figures) route(name string) *routeFigures {
	return &routeFigures{name: name, counters: make([]atomic.Pointer[counter], len(f.labels))}
}

// labelAccepted is the code of an accepted order.
const labelAccepted = "accepted"

func (f *figures) label(name string) {
	f.codes[name] = len(f.labels)
	f.labels = append(f.labels, name)
}

// counter gives the counter of a name, and makes it when there is none.
func (f *figures) counter(name string) *counter {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counters[name]
	if c == nil {
		c = &counter{}
		f.counters[name] = c
		f.set.NewGauge(name, func() float64 { return float64(c.sum()) })
	}
	return c
}

// count counts an answer. A code that is not known is counted as the status's class.
func (f *figures) count(r *routeFigures, code string, status int, cell uint32) {
	i, known := f.codes[code]
	if !known {
		i = f.codes[statusClass(status)]
	}
	f.countLabel(r, i, cell)
}

// countLabel is count for a label that is known by its number.
func (f *figures) countLabel(r *routeFigures, i int, cell uint32) {
	counter := r.counters[i].Load()
	if counter == nil {
		counter = f.counter(fmt.Sprintf(metricPrefix+"requests_total{route=%q,code=%q}", r.name, f.labels[i]))
		r.counters[i].Store(counter)
	}
	counter.inc(cell)
}

func (f *figures) stageRefusals(stage, mode string) *counter {
	return f.counter(fmt.Sprintf(metricPrefix+"stage_refusals_total{stage=%q,mode=%q}", stage, mode))
}

// limitRefusals are of a limit in a mode; route is "" where it holds for all routes.
func (f *figures) limitRefusals(limit, route, mode string) *counter {
	return f.counter(fmt.Sprintf(metricPrefix+"limit_refusals_total{limit=%q,route=%q,mode=%q}", limit, route, mode))
}

func (f *figures) queueWaits(route string) *metrics.PrometheusHistogram {
	return f.set.GetOrCreatePrometheusHistogram(fmt.Sprintf(metricPrefix+"queue_wait_seconds{route=%q}", route))
}

func (f *figures) queueGaveUp(route string) *metrics.Counter {
	return f.set.GetOrCreateCounter(fmt.Sprintf(metricPrefix+"queue_gave_up_total{route=%q}", route))
}

func (f *figures) gauge(name string, value func() float64) { f.set.NewGauge(metricPrefix+name, value) }

func statusClass(status int) string {
	switch {
	case status < 200:
		return "1xx"
	case status < 300:
		return "2xx"
	case status < 400:
		return "3xx"
	case status < 500:
		return "4xx"
	default:
		return "5xx"
	}
}
