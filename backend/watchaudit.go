package backend

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/backend/audit"
)

// auditWatch is what the audits told that the backend makes by itself.
type auditWatch struct {
	violated atomic.Int64 // sales that contradict between counter and ledger
	lastMS   atomic.Int64 // when the last audit could read everything, milliseconds since 1970
	counts   map[audit.Verdict]*metrics.Counter
}

// watchMetrics adds the audit's metrics. The age counts from the start until the first audit.
func (s *Server) watchMetrics(set *metrics.Set) {
	w := &s.audits
	w.lastMS.Store(s.now().UnixMilli())
	w.counts = map[audit.Verdict]*metrics.Counter{}
	for _, v := range []audit.Verdict{audit.Holds, audit.NotSettled, audit.Violated, audit.Unreachable} {
		w.counts[v] = set.NewCounter(`headgate_backend_audits_total{verdict="` + string(v) + `"}`)
	}
	set.NewGauge("headgate_backend_audit_violated_sales", func() float64 { return float64(w.violated.Load()) })
	set.NewGauge("headgate_backend_audit_age_seconds", func() float64 {
		return time.Duration((s.now().UnixMilli() - w.lastMS.Load()) * int64(time.Millisecond)).Seconds()
	})
}

// watchAudit audits every sale, again and again until ctx ends, for the metrics and the log. It reads a thousand
// orders a millisecond.
func (s *Server) watchAudit(ctx context.Context) {
	if s.config.Sales.AuditEvery == 0 {
		return
	}
	ticker := time.NewTicker(s.config.Sales.AuditEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.auditAll(ctx)
		}
	}
}

func (s *Server) auditAll(ctx context.Context) {
	auditing, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	report := audit.Run(auditing, s.counter, s.store, s.depth, audit.Options{Grace: s.config.Sales.AuditGrace})
	if ctx.Err() != nil {
		return
	}
	s.audits.counts[report.Verdict].Inc()
	if report.Verdict == audit.Unreachable {
		s.log.Warn("the audit could not read everything", "reason", report.Error)
		return
	}
	var names []string
	for i := range report.Sales {
		if report.Sales[i].Verdict == audit.Violated {
			names = append(names, report.Sales[i].Sale)
		}
	}
	s.audits.lastMS.Store(s.now().UnixMilli())
	if before := s.audits.violated.Swap(int64(len(names))); len(names) > 0 {
		s.log.Error("AUDIT VIOLATED: counter and ledger contradict each other; `headgate audit` has the findings", "sales", strings.Join(names, ", "))
	} else if before > 0 {
		s.log.Info("the audit holds again")
	}
}
