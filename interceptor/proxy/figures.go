package proxy

import (
	"fmt"

	"github.com/VictoriaMetrics/metrics"
)

const metricPrefix = "headgate_interceptor_upstream_"

// laneNames are the labels of metrics. Read only.
var laneNames = [laneCount]string{"orders", "calls", "long_polls"}

// backendFigures are one address' metrics. They outlive the address in the config.
type backendFigures struct {
	attempts  [laneCount][outcomeCount]*metrics.Counter
	ejections *metrics.Counter
	opened    [laneCount]*metrics.Counter
	checks    [2]*metrics.Counter // well, failed
}

func newBackendFigures(set *metrics.Set, upstream, address string) *backendFigures {
	counter := func(name, labels string, args ...any) *metrics.Counter {
		return set.GetOrCreateCounter(fmt.Sprintf("%s%s{upstream=%q,address=%q%s}", metricPrefix, name, upstream, address, fmt.Sprintf(labels, args...)))
	}
	f := &backendFigures{ejections: counter("ejections_total", "")}
	for lane, name := range laneNames {
		f.opened[lane] = counter("breaker_opened_total", ",lane=%q", name)
		for o, outcome := range outcomeNames {
			f.attempts[lane][o] = counter("attempts_total", ",lane=%q,outcome=%q", name, outcome)
		}
	}
	for i, result := range []string{"well", "failed"} {
		f.checks[i] = counter("checks_total", ",result=%q", result)
	}
	return f
}

// gauges shows an address' state until it is removed; GetOrCreate keeps the first function of a name.
func (u *Upstream) gauges(b *backend) {
	set, labels := u.options.Metrics, fmt.Sprintf("upstream=%q,address=%q", u.name, b.address)
	show := func(name string, value func() float64) {
		set.UnregisterMetric(name) // of an address that was removed, and is back
		set.NewGauge(name, value)
	}
	show(fmt.Sprintf("%sserves{%s}", metricPrefix, labels), func() float64 {
		u.mu.Lock()
		defer u.mu.Unlock()
		if state, _ := b.standingOf(Orders, u.options.Now(), false); b.removed || state != well {
			return 0
		}
		return 1
	})
	for lane, laneName := range laneNames {
		show(fmt.Sprintf("%sin_flight{%s,lane=%q}", metricPrefix, labels, laneName), func() float64 {
			u.mu.Lock()
			defer u.mu.Unlock()
			return float64(b.lanes[lane].inFlight)
		})
	}
}

// unshow removes an address' gauges.
func (u *Upstream) unshow(b *backend) {
	labels := fmt.Sprintf("upstream=%q,address=%q", u.name, b.address)
	u.options.Metrics.UnregisterMetric(fmt.Sprintf("%sserves{%s}", metricPrefix, labels))
	for _, laneName := range laneNames {
		u.options.Metrics.UnregisterMetric(fmt.Sprintf("%sin_flight{%s,lane=%q}", metricPrefix, labels, laneName))
	}
}
