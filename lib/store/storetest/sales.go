package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

func terms(id string, stock int64) []byte {
	text, _ := json.Marshal(sale.Terms{
		ID: id, Stock: stock, OpensAt: 1, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	})
	return text
}

func change(s *store.Store, id string, changes ...store.SaleChange) (store.Sale, error) {
	return s.ChangeSale(context.Background(), id, func(store.Sale) ([]store.SaleChange, error) { return changes, nil })
}

func testChangeLog(t *testing.T, s *store.Store) {
	ctx := context.Background()
	id := newSaleID()
	draft := store.Sale{ID: id, Currency: "CNY", Stock: 10, OpensAt: time.Now(), HoldFor: time.Second, PayWithin: time.Hour}
	must(t, s.CreateSale(ctx, &draft))
	wantError(t, s.CreateSale(ctx, &draft), store.ErrDuplicate)
	if draft.Intent != store.IntentDraft || draft.Revision != 0 || draft.StockCeiling != 10 {
		t.Fatalf("the draft is %+v", draft)
	}
	opened, err := change(s, id, store.SaleChange{Command: store.CommandOpen, Payload: terms(id, 10)}, store.SaleChange{Command: store.CommandResume})
	must(t, err)
	if opened.Revision != 2 || opened.Intent != store.IntentOpen {
		t.Fatalf("opened: %+v", opened)
	}
	changes, err := s.ChangesAfter(ctx, id, 0)
	must(t, err)
	if len(changes) != 2 || changes[0].Revision != 1 || changes[1].Command != store.CommandResume || changes[0].AcknowledgedAt != nil {
		t.Fatalf("the change log is %+v", changes)
	}
	parsed, err := sale.ParseTerms(changes[0].Payload)
	must(t, err)
	if parsed.Revision != 1 {
		t.Fatalf("the terms' revision is %d, want the change's, 1", parsed.Revision)
	}
	must(t, s.AcknowledgeSale(ctx, id, 1, nil))
	must(t, s.AcknowledgeSale(ctx, id, 1, nil))
	changes, err = s.ChangesAfter(ctx, id, 0)
	must(t, err)
	if changes[0].AcknowledgedAt == nil || changes[1].AcknowledgedAt != nil {
		t.Fatalf("after acknowledging revision 1: %+v", changes)
	}
	refusal := errors.New("not now")
	_, err = s.ChangeSale(ctx, id, func(current store.Sale) ([]store.SaleChange, error) { return nil, refusal })
	wantError(t, err, refusal)
	if _, err = change(s, id, store.SaleChange{Command: "burn"}); err == nil {
		t.Fatal("an unknown command was stored")
	}
	current, err := s.SaleByID(ctx, id)
	must(t, err)
	if current.Revision != 2 || current.Acknowledged != 1 {
		t.Fatalf("after refused changes: %+v", current)
	}
	_, err = change(s, "nowhere", store.SaleChange{Command: store.CommandPause})
	wantError(t, err, store.ErrNotFound)
	must(t, s.SetSaleAlarm(ctx, id, "look here"))
	current, err = s.SaleByID(ctx, id)
	must(t, err)
	if current.Alarm != "look here" {
		t.Fatalf("the alarm is %q", current.Alarm)
	}
	wantError(t, s.SetSaleAlarm(ctx, "nowhere", ""), store.ErrNotFound)
}

// testCeiling: raised with the intent, lowered only by what the counter reports, and not while a
// later change waits.
func testCeiling(t *testing.T, s *store.Store) {
	ctx := context.Background()
	id := newSaleID()
	OpenSale(t, s, id, 100, time.Hour)
	stock := func(total string) store.SaleChange {
		return store.SaleChange{Command: store.CommandStock, Payload: []byte(`{"total":` + total + `}`)}
	}
	ceiling := func(want int64) {
		t.Helper()
		current, err := s.SaleByID(ctx, id)
		must(t, err)
		if current.StockCeiling != want {
			t.Fatalf("the ceiling is %d, want %d", current.StockCeiling, want)
		}
	}
	raised, err := change(s, id, stock("150"))
	must(t, err)
	ceiling(150)
	cut, err := change(s, id, stock("80"))
	must(t, err)
	ceiling(150)
	reported := int64(100)
	must(t, s.AcknowledgeSale(ctx, id, raised.Revision, &reported))
	ceiling(150) // the cut is not acknowledged: its answer is still to come
	reported = 90
	must(t, s.AcknowledgeSale(ctx, id, cut.Revision, &reported))
	ceiling(90)
	reported = 1000
	must(t, s.AcknowledgeSale(ctx, id, cut.Revision, &reported))
	ceiling(90)
	if _, err := change(s, id, stock("-1")); err == nil {
		t.Fatal("a negative stock was stored")
	}
}
