package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// FuzzMessage: whatever bytes the queue delivers, they are settled in one round, and only a ticket
// signed with our key becomes an order.
func FuzzMessage(f *testing.F) {
	keys := []auth.SymmetricKey{{ID: "k1", Secret: "0123456789abcdef0123456789abcdef"}}
	ring, err := auth.NewKeyring(keys)
	if err != nil {
		f.Fatal(err)
	}
	good := auth.Ticket{Order: 7, Sale: "1", User: "u1", Quantity: 1, Slot: 1, Key: "k", ExpiresAt: 1}
	ticket, err := ring.SignTicket(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sale.OrderMessage{Version: 1, Ticket: ticket, AcceptedAt: 1}.Encode())
	f.Add(sale.OrderMessage{Version: 1, Ticket: ticket + "x", AcceptedAt: -1 << 62}.Encode())
	f.Add([]byte(`{"version":1,"ticket":"v1.k1.e30.AA"}`))
	f.Add([]byte(`{"version":1e400}`))
	f.Add([]byte{})
	f.Add([]byte("\xff{"))
	f.Fuzz(func(t *testing.T, body []byte) {
		cfg := consumer.DefaultConfig()
		cfg.Database.Path = "ledger.db" // not opened: the sink is the ledger
		cfg.TicketKeys = keys
		s := &sink{body: body, done: make(chan struct{})}
		c, err := consumer.Open(context.Background(), cfg, service.NewRuntime("consumer", servicetest.Log(t)),
			consumer.WithQueue(s), consumer.WithLedger(s), consumer.WithCounter(s))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		go func() { <-s.done; cancel() }()
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if s.written+s.letters != 1 || s.acked != 1 {
			t.Fatalf("%d orders, %d dead letters, %d acknowledged of one message", s.written, s.letters, s.acked)
		}
		if s.written == 1 && s.order.Binding != good.Binding() {
			t.Fatalf("%q became %+v, which nobody signed", body, s.order)
		}
	})
}

// silent is a subscription that delivers nothing.
type silent struct{ queue.Subscription }

func (silent) Close() error { return nil }
func (silent) Receive(ctx context.Context) ([]queue.Delivery, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// sink delivers one message and takes whatever becomes of it.
type sink struct {
	consumer.Ledger // the calls that are not overridden are never made in one round
	body            []byte
	sent            atomic.Bool
	done            chan struct{}
	order           store.Accepted
	written         int
	letters         int
	acked           int
}

func (s *sink) Subscribe(_ context.Context, topic string, _ queue.SubscribeOptions) (queue.Subscription, error) {
	if topic != consumer.Topic {
		return silent{}, nil
	}
	return s, nil
}
func (s *sink) Ping(context.Context) error { return nil }
func (s *sink) Close() error               { return nil }

func (s *sink) Receive(ctx context.Context) ([]queue.Delivery, error) {
	if s.sent.Swap(true) { // several workers ask
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []queue.Delivery{{ID: "1", Body: s.body}}, nil
}

func (s *sink) Ack(_ context.Context, d ...queue.Delivery) error {
	s.acked += len(d)
	close(s.done)
	return nil
}
func (s *sink) HoldBack(context.Context, time.Duration, ...queue.Delivery) error { return nil }
func (s *sink) DeadLetter(context.Context, string, ...queue.Delivery) error      { return nil }

func (s *sink) Confirm(_ context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error) {
	codes := make([]client.ConfirmCode, len(ids))
	for i := range codes {
		codes[i] = client.ConfirmConfirmed
	}
	return codes, nil
}
func (s *sink) Release(context.Context, sale.OrderID, string) (string, error) {
	return client.Released, nil
}

func (s *sink) WriteOrders(_ context.Context, batch []store.Accepted) (store.WriteReport, error) {
	var report store.WriteReport
	for _, a := range batch {
		s.order, s.written = a, s.written+1
		report.Results = append(report.Results, store.WriteResult{Order: a.Order, Outcome: store.Written})
	}
	return report, nil
}

func (s *sink) AddDeadLetter(context.Context, store.DeadLetter) error { s.letters++; return nil }
func (s *sink) CancelDue(context.Context, int) (store.SweepReport, error) {
	return store.SweepReport{}, nil
}
func (s *sink) Backlog(context.Context) (store.Backlog, error) { return store.Backlog{}, nil }
func (s *sink) ClaimParked(context.Context, int, time.Duration) ([]store.ParkedMessage, error) {
	return nil, nil
}
func (s *sink) ClaimOutbox(context.Context, int, time.Duration) ([]store.OutboxRow, error) {
	return nil, nil
}

func (s *sink) ClaimPayments(context.Context, int, time.Duration) ([]store.Payment, error) {
	return nil, nil
}
func (s *sink) ClaimRefunds(context.Context, int, time.Duration) ([]store.Refund, error) {
	return nil, nil
}
func (s *sink) Publish(context.Context, string, []queue.Message) []queue.Outcome {
	return []queue.Outcome{{Fate: queue.Confirmed}}
}
