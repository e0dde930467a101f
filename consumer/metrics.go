package consumer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/counter/client"
	"headgate.example/lib/store"
)

// meter holds the consumer's metrics. Label values come from fixed sets of words.
type meter struct {
	set *metrics.Set

	batchSize     *metrics.PrometheusHistogram
	commitSeconds *metrics.PrometheusHistogram
	parked        *metrics.Counter
	unparked      *metrics.Counter
	deadLetters   *metrics.Counter
	ackFailed     *metrics.Counter
	ledgerFailed  *metrics.Counter
	attempts      *metrics.Counter
	swept         *metrics.Counter
	unannounced   *metrics.Counter
	backlog       atomic.Pointer[store.Backlog]

	holding sync.Mutex
	held    map[*time.Time]struct{} // of each batch in hand, when its oldest message was published; guarded by holding
}

func newMeter(set *metrics.Set, now func() time.Time) *meter {
	m := &meter{
		set:           set,
		held:          map[*time.Time]struct{}{},
		batchSize:     set.NewPrometheusHistogramExt("headgate_consumer_batch_messages", []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}),
		commitSeconds: set.NewPrometheusHistogram("headgate_consumer_commit_seconds"),
		parked:        set.NewCounter("headgate_consumer_parked_total"),
		unparked:      set.NewCounter("headgate_consumer_unparked_total"),
		deadLetters:   set.NewCounter("headgate_consumer_dead_letters_total"),
		ackFailed:     set.NewCounter("headgate_consumer_ack_failures_total"),
		ledgerFailed:  set.NewCounter("headgate_consumer_ledger_failures_total"),
		attempts:      set.NewCounter("headgate_consumer_transactions_total"),
		swept:         set.NewCounter("headgate_consumer_deadline_cancellations_total"),
		unannounced:   set.NewCounter("headgate_consumer_deadline_messages_lost_total"),
	}
	set.NewGauge("headgate_consumer_queue_age_seconds", func() float64 { return m.queueAge(now()).Seconds() })
	gauge := func(name string, value func(*store.Backlog) float64) {
		set.NewGauge(name, func() float64 {
			if b := m.backlog.Load(); b != nil {
				return value(b)
			}
			return 0
		})
	}
	gauge("headgate_consumer_outbox_rows", func(b *store.Backlog) float64 { return float64(b.OutboxDue) })
	gauge("headgate_consumer_outbox_parked_rows", func(b *store.Backlog) float64 { return float64(b.OutboxParked) })
	gauge("headgate_consumer_outbox_age_seconds", func(b *store.Backlog) float64 { return b.OutboxAge.Seconds() })
	gauge("headgate_consumer_parked_messages", func(b *store.Backlog) float64 { return float64(b.Parked) })
	gauge("headgate_consumer_parked_age_seconds", func(b *store.Backlog) float64 { return b.ParkedAge.Seconds() })
	gauge("headgate_consumer_payments_open", func(b *store.Backlog) float64 { return float64(b.PaymentsOpen) })
	gauge("headgate_consumer_refunds_due", func(b *store.Backlog) float64 { return float64(b.RefundsDue) })
	gauge("headgate_consumer_refunds_parked", func(b *store.Backlog) float64 { return float64(b.RefundsParked) })
	gauge("headgate_consumer_dead_letters", func(b *store.Backlog) float64 { return float64(b.DeadLetters) })
	return m
}

// hold notes a batch in hand, whose messages were published since oldest; the caller calls done after it.
func (m *meter) hold(oldest time.Time) (done func()) {
	m.holding.Lock()
	defer m.holding.Unlock()
	m.held[&oldest] = struct{}{}
	return func() {
		m.holding.Lock()
		defer m.holding.Unlock()
		delete(m.held, &oldest)
	}
}

// queueAge is how long ago the oldest message in hand was published; 0 while there is none. Messages come in their
// order, so that those which still wait are younger.
func (m *meter) queueAge(now time.Time) time.Duration {
	m.holding.Lock()
	defer m.holding.Unlock()
	var age time.Duration
	for oldest := range m.held {
		age = max(age, now.Sub(*oldest))
	}
	return age
}

func (m *meter) count(name, label, value string, n int) {
	m.set.GetOrCreateCounter(fmt.Sprintf("headgate_consumer_%s{%s=%q}", name, label, value)).Add(n)
}

func (m *meter) batch(messages int) { m.batchSize.Update(float64(messages)) }

func (m *meter) confirmed(code client.ConfirmCode) { m.count("confirm_total", "code", string(code), 1) }

func (m *meter) released(answer string) { m.count("release_total", "answer", answer, 1) }

func (m *meter) asked(answer string) { m.count("payment_questions_total", "answer", answer, 1) }

func (m *meter) refunded(outcome string) { m.count("refunds_total", "outcome", outcome, 1) }

func (m *meter) alarm(kind string) { m.count("alarms_total", "kind", kind, 1) }

// wrote counts one committed batch.
func (m *meter) wrote(took time.Duration, report *store.WriteReport) {
	m.commitSeconds.Update(took.Seconds())
	m.attempts.Add(report.Attempts)
	for _, outcome := range []store.Outcome{store.Written, store.Known, store.Rejected, store.Mismatch, store.NoSale, store.OverCeiling} {
		if n := report.Count(outcome); n > 0 {
			m.count("orders_total", "outcome", string(outcome), n)
		}
	}
}
