package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Run checks that a database keeps the contract of package store. open gives a fresh ledger
// for each test, since sweeps and claims reach over sales. Interleavings belongs to the contract, too.
func Run(t *testing.T, open func(t testing.TB) *store.Store) {
	for name, test := range map[string]func(*testing.T, *store.Store){
		"users":                testUsers,
		"changed users":        testChangeUser,
		"sale change log":      testChangeLog,
		"ceiling":              testCeiling,
		"redelivery":           testRedelivery,
		"mismatch":             testMismatch,
		"slot clash":           testSlotClash,
		"expired":              testExpired,
		"over ceiling":         testOverCeiling,
		"no sale":              testNoSale,
		"bad batches":          testBadBatches,
		"cancel":               testCancel,
		"sweep":                testSweep,
		"outbox":               testOutbox,
		"payments":             testPayments,
		"late money":           testLateMoney,
		"due with payment":     testDueWithPayment,
		"payment race":         testPaymentRace,
		"dead letters":         testDeadLetters,
		"parked":               testParked,
		"listings":             testListings,
		"text and times":       testTextAndTimes,
		"concurrent consumers": testConcurrent,
		"cancelled contexts":   testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// ids are unique within the process.
var ids atomic.Int64

func newID() sale.OrderID { return sale.MakeOrderID(ids.Add(1), 1, 0) }

func newSaleID() string { return fmt.Sprintf("s%d", ids.Add(1)) }

func accepted(saleID, user string, slot int64) store.Accepted {
	return store.Accepted{
		Binding:    sale.Binding{Order: newID(), Sale: saleID, User: user, Quantity: 1, Slot: slot},
		AcceptedAt: time.Now(),
	}
}

// write writes a batch and checks the outcomes.
func write(t *testing.T, s *store.Store, batch []store.Accepted, want ...store.Outcome) store.WriteReport {
	t.Helper()
	report, err := s.WriteOrders(context.Background(), batch)
	if err != nil {
		t.Fatalf("WriteOrders: %v", err)
	}
	if len(report.Results) != len(batch) {
		t.Fatalf("WriteOrders gave %d results for %d orders", len(report.Results), len(batch))
	}
	for i, result := range report.Results {
		if result.Order != batch[i].Order || result.Outcome != want[i] {
			t.Fatalf("result %d is %+v, want %s of order %s", i, result, want[i], batch[i].Order)
		}
	}
	return report
}

func state(t *testing.T, s *store.Store, id sale.OrderID, want sale.OrderState) store.Order {
	t.Helper()
	order, err := s.OrderByID(context.Background(), id)
	if err != nil {
		t.Fatalf("order %s: %v", id, err)
	}
	if order.State != want {
		t.Fatalf("order %s is %s, want %s", id, order.State, want)
	}
	return order
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func testUsers(t *testing.T, s *store.Store) {
	ctx := context.Background()
	user := store.User{Name: "ada", PasswordHash: "$argon2id$...", Roles: "admin,buyer"}
	must(t, s.CreateUser(ctx, &user))
	if user.ID == 0 || user.CreatedAt.IsZero() {
		t.Fatalf("CreateUser left %+v", user)
	}
	again := store.User{Name: "ada"}
	wantError(t, s.CreateUser(ctx, &again), store.ErrDuplicate)
	var refused *sale.FieldError
	spaced := store.User{Name: "ada "} // MySQL would take it for ada
	if err := s.CreateUser(ctx, &spaced); !errors.As(err, &refused) || refused.Field != "name" {
		t.Fatalf("a name with a space: %v, want a refusal that names the field", err)
	}
	other := store.User{Name: "Ada"}
	must(t, s.CreateUser(ctx, &other)) // names are compared byte by byte
	for what, find := range map[string]func() (store.User, error){
		"name": func() (store.User, error) { return s.UserByName(ctx, "ada") },
		"id":   func() (store.User, error) { return s.UserByID(ctx, user.ID) },
	} {
		found, err := find()
		must(t, err)
		if !found.CreatedAt.Equal(user.CreatedAt) || found.ID != user.ID || found.Roles != user.Roles {
			t.Fatalf("by %s: %+v, want %+v", what, found, user)
		}
	}
	_, err := s.UserByName(ctx, "nobody")
	wantError(t, err, store.ErrNotFound)
	_, err = s.UserByID(ctx, 1<<40)
	wantError(t, err, store.ErrNotFound)

	must(t, s.SetPasswordHash(ctx, user.ID, user.PasswordHash, "$argon2id$other"))
	wantError(t, s.SetPasswordHash(ctx, user.ID, user.PasswordHash, "$argon2id$third"), store.ErrNotFound) // it is not the old one any more
	found, err := s.UserByID(ctx, user.ID)
	must(t, err)
	if found.PasswordHash != "$argon2id$other" || found.Name != user.Name {
		t.Fatalf("after a change of password: %+v", found)
	}
}

func testChangeUser(t *testing.T, s *store.Store) {
	ctx := context.Background()
	user := store.User{Name: "bea", PasswordHash: "$argon2id$..."}
	must(t, s.CreateUser(ctx, &user))
	last := store.User{Name: "carl"}
	must(t, s.CreateUser(ctx, &last))
	var changing sync.WaitGroup
	for i := range 8 { // no change is lost
		changing.Go(func() {
			_, err := s.ChangeUser(ctx, "bea", func(u *store.User) error {
				u.Roles += fmt.Sprintf(",r%d", i)
				return nil
			})
			if err != nil {
				t.Errorf("ChangeUser: %v", err)
			}
		})
	}
	changing.Wait()
	changed, err := s.ChangeUser(ctx, "bea", func(u *store.User) error { u.Disable(true); u.Disable(true); return nil })
	must(t, err)
	found, err := s.UserByName(ctx, "bea")
	must(t, err)
	if found != changed || len(found.RoleList()) != 8 || !found.Disabled() || found.UserID() != store.AccountUser(user.ID) {
		t.Fatalf("after eight roles and disabling: %+v, told %+v", found, changed)
	}
	no := errors.New("no")
	_, err = s.ChangeUser(ctx, "bea", func(u *store.User) error { u.Roles = ""; u.Disable(false); return no })
	wantError(t, err, no)
	_, err = s.ChangeUser(ctx, "nobody", func(*store.User) error { return nil })
	wantError(t, err, store.ErrNotFound)
	listed, err := s.ListUsers(ctx, user.ID-1, 1)
	must(t, err)
	if len(listed) != 1 || listed[0] != found {
		t.Fatalf("listed %+v, want %+v", listed, found)
	}
	if listed, err = s.ListUsers(ctx, user.ID, 0); err != nil || len(listed) != 1 || listed[0].Name != "carl" {
		t.Fatalf("listed %+v, %v after %d, want carl", listed, err, user.ID)
	}
	if found.Disable(false); found.PasswordHash != user.PasswordHash {
		t.Fatalf("enabled again the hash is %q", found.PasswordHash)
	}
}

func testTextAndTimes(t *testing.T, s *store.Store) {
	ctx := context.Background()
	opens := time.Date(2026, 11, 11, 23, 59, 59, 999_000_000, time.FixedZone("", 8*3600))
	created := store.Sale{
		ID: newSaleID(), Title: "双十一 🎉", Description: "quotes ' \" \\ and ; -- comments", PriceMinor: 1, Currency: "CNY",
		Stock: 5, OpensAt: opens, EndsAt: opens.Add(time.Hour), HoldFor: 30 * time.Second, PayWithin: 15 * time.Minute,
		Releases: []sale.Release{{At: opens.UnixMilli() + 1, Units: 2}},
	}
	must(t, s.CreateSale(ctx, &created))
	found, err := s.SaleByID(ctx, created.ID)
	must(t, err)
	if found.Title != created.Title || found.Description != created.Description || !found.OpensAt.Equal(opens) ||
		!found.EndsAt.Equal(created.EndsAt) || found.HoldFor != created.HoldFor || found.PayWithin != created.PayWithin ||
		len(found.Releases) != 1 || found.Releases[0] != created.Releases[0] {
		t.Fatalf("read %+v, wrote %+v", found, created)
	}
	now, err := s.Now(ctx)
	must(t, err)
	if off := time.Since(now); off < -time.Minute || off > time.Minute {
		t.Fatalf("the database's clock is %s off: its session is not in UTC?", off)
	}
	if off := now.Sub(found.CreatedAt); off < 0 || off > time.Minute {
		t.Fatalf("created_at is %s, the database's clock %s", found.CreatedAt, now)
	}
}
