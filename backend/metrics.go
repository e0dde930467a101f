package backend

import (
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
)

// figures are the backend's metrics. All are made at start: refusals come from one table of codes.
type figures struct {
	requests [6]*metrics.Counter // by the status' first digit
	seconds  *metrics.PrometheusHistogram
	refusals map[problem.Code]*metrics.Counter
	fates    map[queue.Fate]*metrics.Counter
	letters  map[string]*metrics.Counter // dead letters that operators settled
	receipts map[string]*metrics.Counter // money that callbacks and questions told of, by what became of it
	badHops  *metrics.Counter
	panics   *metrics.Counter
}

func newFigures(set *metrics.Set) *figures {
	f := &figures{refusals: map[problem.Code]*metrics.Counter{}, fates: map[queue.Fate]*metrics.Counter{}, receipts: map[string]*metrics.Counter{}, letters: map[string]*metrics.Counter{}}
	for i, class := range []string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		f.requests[i] = set.NewCounter(`headgate_backend_requests_total{status="` + class + `"}`)
	}
	f.seconds = set.NewPrometheusHistogramExt("headgate_backend_request_seconds", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})
	for _, code := range problem.Codes() {
		f.refusals[code] = set.NewCounter(`headgate_backend_refusals_total{code="` + string(code) + `"}`)
	}
	for _, fate := range []queue.Fate{queue.Confirmed, queue.Refused, queue.Unknown} {
		f.fates[fate] = set.NewCounter(`headgate_backend_orders_total{fate="` + fate.String() + `"}`)
	}
	for _, result := range []string{letterReplayed, letterRejected, letterDropped} {
		f.letters[result] = set.NewCounter(`headgate_backend_dead_letters_settled_total{result="` + result + `"}`)
	}
	for _, outcome := range []string{"paid", "refund", "known", "unknown", "forged"} {
		f.receipts[outcome] = set.NewCounter(`headgate_backend_payments_total{outcome="` + outcome + `"}`)
	}
	f.badHops = set.NewCounter("headgate_backend_bad_hops_total")
	f.panics = set.NewCounter("headgate_backend_panics_total")
	return f
}

func (f *figures) answered(status int, took time.Duration) {
	class := status / 100
	if class < 0 || class >= len(f.requests) {
		class = 0
	}
	f.requests[class].Inc()
	f.seconds.Update(took.Seconds())
}

func (f *figures) refused(code problem.Code) {
	if c := f.refusals[code]; c != nil {
		c.Inc()
	}
}

func (f *figures) taken(fate queue.Fate) { f.fates[fate].Inc() }

func (f *figures) received(outcome string) { f.receipts[outcome].Inc() }

// watch adds the gauges of parts that keep their own figures.
func (s *Server) watchParts(set *metrics.Set) {
	set.NewGauge("headgate_backend_waiting_polls", func() float64 { return float64(s.waiters.waitingNow()) })
	set.NewGauge("headgate_backend_hashing", func() float64 { return float64(s.accounts.hashing.Load()) })
	set.NewGauge("headgate_backend_sales_behind", func() float64 { return float64(s.pusher.Stats.Behind.Load()) })
	set.NewGauge("headgate_backend_sales_disagree", func() float64 { return float64(s.pusher.Stats.Disagree.Load()) })
	set.NewGauge("headgate_backend_changes_pushed", func() float64 { return float64(s.pusher.Stats.Pushed.Load()) })
	set.NewGauge("headgate_backend_push_failures", func() float64 { return float64(s.pusher.Stats.Failed.Load()) })
}
