package store

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"headgate.example/lib/sale"
)

// recorder keeps the statements that GORM runs.
type recorder struct {
	logger.Interface
	mu         sync.Mutex
	statements []string
}

func (r *recorder) LogMode(logger.LogLevel) logger.Interface { return r }

func (r *recorder) Trace(_ context.Context, _ time.Time, statement func() (string, int64), _ error) {
	text, _ := statement()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, text)
}

// Exercised calls every method of the ledger, and gives the statements that read or change rows, with a
// handle to explain them.
func Exercised(t *testing.T, s *Store) (plain *gorm.DB, statements []string) {
	t.Helper()
	plain = s.read
	r := &recorder{Interface: logger.Discard}
	s.read = s.read.Session(&gorm.Session{Logger: r})
	s.write = s.write.Session(&gorm.Session{Logger: r})
	exercise(t, s)
	for _, statement := range r.statements {
		for _, verb := range []string{"SELECT", "UPDATE", "DELETE"} {
			if strings.HasPrefix(statement, verb) {
				statements = append(statements, statement)
			}
		}
	}
	return plain, statements
}

// TestIndexes: no query of the ledger reads a whole table that grows, or sorts one.
func TestIndexes(t *testing.T) {
	ctx := context.Background()
	cfg := Config{Driver: SQLite, Path: filepath.Join(t.TempDir(), "ledger.db"), MaxConnections: 2}
	s, err := Open(ctx, cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test's own file
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	plain, statements := Exercised(t, s)

	grows := regexp.MustCompile(`SCAN (orders|outbox|stock_journal|users|dead_letters|parked_messages|payments|refunds|sandbox_payments|sandbox_callbacks|sale_changes)\b`)
	explained := 0
	for _, statement := range statements {
		var steps []struct{ Detail string }
		if err := plain.Raw("EXPLAIN QUERY PLAN " + statement).Scan(&steps).Error; err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		explained++
		for _, step := range steps {
			covered := strings.Contains(step.Detail, "INDEX") && strings.Contains(statement, "count(*)")
			if grows.MatchString(step.Detail) && !covered && !strings.Contains(statement, "LIMIT 1") || strings.Contains(step.Detail, "TEMP B-TREE FOR") && strings.Contains(step.Detail, "ORDER BY") {
				t.Errorf("%s\n\tis done by: %s", statement, step.Detail)
			}
		}
	}
	if explained < 30 {
		t.Fatalf("only %d statements were explained: the recorder is not in place", explained)
	}
}

// exercise calls every method that reads or changes rows.
func exercise(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.CreateUser(ctx, &User{Name: "ada"}))
	_, err := s.UserByName(ctx, "ada")
	must(err)
	_, err = s.ChangeUser(ctx, "ada", func(u *User) error { u.Roles = "admin"; return nil })
	must(err)
	_, err = s.ListUsers(ctx, 0, 10)
	must(err)
	created := Sale{ID: "1", Currency: "CNY", Stock: 100, OpensAt: time.Now(), HoldFor: time.Second, PayWithin: time.Millisecond}
	must(s.CreateSale(ctx, &created))
	_, err = s.ChangeSale(ctx, "1", func(Sale) ([]SaleChange, error) { return []SaleChange{{Command: CommandResume}}, nil })
	must(err)
	_, err = s.ChangesAfter(ctx, "1", 0)
	must(err)
	must(s.AcknowledgeSale(ctx, "1", 1, nil))
	order := func(id sale.OrderID, slot int64) Accepted {
		return Accepted{Binding: sale.Binding{Order: id, Sale: "1", User: "u1", Quantity: 1, Slot: slot}, AcceptedAt: time.Now()}
	}
	_, err = s.WriteOrders(ctx, []Accepted{order(1, 1), order(2, 2), order(3, 2)}) // the last clashes
	must(err)
	_, err = s.OrdersByUser(ctx, "u1", 100, 10)
	must(err)
	_, err = s.OrdersByUser(ctx, "u1", 0, 10)
	must(err)
	_, err = s.OrdersByIDs(ctx, []sale.OrderID{1, 2})
	must(err)
	_, err = s.ActiveOrders(ctx, "1", 0, 10)
	must(err)
	exercisePayments(t, s)
	_, err = s.CancelOrder(ctx, 1, "u1")
	must(err)
	_, err = s.CancelDueOrders(ctx, []sale.OrderID{1, 2})
	must(err)
	_, err = s.CancelDue(ctx, 10)
	must(err)
	_, err = s.SaleTotals(ctx, "1")
	must(err)
	_, err = s.Journal(ctx, "1", 0, 10)
	must(err)
	_, err = s.ClaimOutbox(ctx, 10, time.Hour)
	must(err)
	must(s.FinishOutbox(ctx, "released", 1))
	_, err = s.UnfinishedOutbox(ctx, 0, 10)
	must(err)
	must(s.AddDeadLetter(ctx, DeadLetter{Topic: "orders", Body: []byte("x")}))
	_, err = s.ListDeadLetters(ctx, 0, 10)
	must(err)
	accepted := order(9, 9)
	_, err = s.DiscardDeadLetter(ctx, 1, &accepted)
	must(err)
	must(s.AddDeadLetter(ctx, DeadLetter{Topic: "orders", Body: []byte("y")}))
	letters, err := s.ListDeadLetters(ctx, 1, 0)
	must(err)
	must(s.ReplayDeadLetter(ctx, letters[len(letters)-1].ID))
	_, err = s.DeadLetterByID(ctx, 1)
	must(err)
	must(s.ParkMessages(ctx, 0, ParkedMessage{Topic: "orders", Body: []byte("x")}))
	_, err = s.ClaimParked(ctx, 10, time.Hour)
	must(err)
	must(s.RetryParked(ctx, time.Hour, "why", 1))
	_, err = s.ListParked(ctx, 0, 10)
	must(err)
	must(s.FinishParked(ctx, 1))
	_, err = s.Backlog(ctx)
	must(err)
	_, err = s.HighestOrder(ctx)
	must(err)
	_, err = s.WriteOrders(ctx, []Accepted{order(20, 20)})
	must(err)
	must(s.CancelLost(ctx, 20, "why"))
	_, err = s.ReopenOutbox(ctx, 1, 2)
	must(err)
	must(s.AdoptSale(ctx, "1", Adoption{Revision: 9, Stock: 100, Intent: IntentOpen}))
	_, err = s.DueNow(ctx, 1)
	must(err)
}

// exercisePayments pays order 4, of a user of its own, and again after it was paid.
func exercisePayments(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.CreateSale(ctx, &Sale{ID: "2", PriceMinor: 1, Currency: "CNY", Stock: 100, OpensAt: time.Now(), HoldFor: time.Second, PayWithin: time.Hour}))
	_, err := s.WriteOrders(ctx, []Accepted{{Binding: sale.Binding{Order: 4, Sale: "2", User: "u4", Quantity: 1, Slot: 1}}})
	must(err)
	for range 2 {
		_, p, err := s.BeginPayment(ctx, 4, "u4", PaymentTerms{Provider: "bank", Margin: time.Second})
		must(err)
		must(s.SetPaymentPage(ctx, p.ID, "/page"))
		_, err = s.ClaimPayments(ctx, 10, time.Hour)
		must(err)
		must(s.RetryPayment(ctx, p.ID, 0, "no answer", false))
		must(s.ClosePayment(ctx, p.ID, "expired"))
	}
	for _, reference := range []string{"4-1", "4-2"} { // the second is refunded
		_, err = s.ReceivePayment(ctx, "bank", reference, Money{AmountMinor: 1, Currency: "CNY", At: time.Now()})
		must(err)
	}
	_, err = s.AdoptPayments(ctx, Payment{OrderID: 4, Provider: "bank", Reference: "4-1", AmountMinor: 1, Currency: "CNY"})
	must(err)
	_, err = s.PaymentsOfOrder(ctx, 4)
	must(err)
	_, err = s.RefundsOf(ctx, 1, 2)
	must(err)
	_, err = s.ClaimRefunds(ctx, 10, time.Hour)
	must(err)
	_, _, err = s.RetryRefund(ctx, 1)
	must(err)
	_, _, err = s.FinishRefund(ctx, 1, "by hand")
	must(err)
	must(s.SettleRefund(ctx, 1, RefundDone, "done", 0))
	for _, state := range []string{"", RefundDone} {
		_, err = s.ListRefunds(ctx, state, 0, 10)
		must(err)
	}
	_, err = s.AddSandboxPayment(ctx, SandboxPayment{Reference: "r", AmountMinor: 1, Currency: "CNY", ExpiresAt: time.Now().Add(time.Hour)})
	must(err)
	_, _, err = s.PaySandbox(ctx, "r", false, func(SandboxPayment, time.Time) []SandboxCallback {
		return []SandboxCallback{{Reference: "r", DueAt: time.Now()}}
	})
	must(err)
	_, err = s.SandboxPayment(ctx, "r")
	must(err)
	_, err = s.RefundSandbox(ctx, "r", 1)
	must(err)
	_, err = s.ClaimSandboxCallbacks(ctx, 10, time.Hour)
	must(err)
	must(s.RetrySandboxCallback(ctx, 1, time.Hour))
	must(s.FinishSandboxCallback(ctx, 1))
	must(s.SetSandboxBehaviour(ctx, "{}"))
	_, err = s.SandboxBehaviour(ctx)
	must(err)
}
