package backend_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// TestRefusedRefunds: what the provider refused is retried, or settled by hand, by operators alone; and only that.
func TestRefusedRefunds(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	var ids []int64
	for _, buyer := range []who{alice, bob} {
		id := s.buy(buyer.user)
		page := s.pay(buyer, id).Payment.Page
		s.call(buyer, "POST", "/api/orders/"+id.String()+"/cancel", nil).want(200, "")
		s.press(page).want(200, "")
	}
	servicetest.Eventually(t, 20*time.Second, "both are to go back", func() bool {
		rows, err := s.ledger.ListRefunds(t.Context(), store.RefundDue, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		ids = ids[:0]
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return len(ids) == 2
	})
	path := func(id int64, action string) string { return fmt.Sprintf("/api/admin/refunds/%d/%s", id, action) }
	type refund struct {
		ID            int64
		State, Answer string
		Changed       bool
	}
	expect := func(a *answer, want refund) {
		t.Helper()
		var got refund
		if a.want(200, "").into(&got); got != want {
			t.Errorf("answered %+v, want %+v", got, want)
		}
	}
	note := map[string]string{"note": "transfer 4711"}
	expect(s.call(root, "POST", path(ids[0], "retry"), nil), refund{ID: ids[0], State: "due"}) // is asked for as it is
	for _, id := range ids {
		if err := s.ledger.SettleRefund(t.Context(), id, store.RefundParked, "refused", 0); err != nil {
			t.Fatal(err)
		}
	}
	s.call(alice, "POST", path(ids[0], "retry"), nil).want(403, "forbidden")
	s.call(alice, "POST", path(ids[0], "settle"), note).want(403, "forbidden")
	s.call(root, "POST", path(999, "retry"), nil).want(404, "not_found")
	wantField(t, s.call(root, "POST", path(ids[1], "settle"), map[string]string{"note": ""}), "note")
	wantField(t, s.call(root, "POST", path(ids[1], "settle"), map[string]string{"note": strings.Repeat("银", 67)}), "note") // 201 bytes: not cut, but refused

	expect(s.call(root, "POST", path(ids[0], "retry"), nil), refund{ID: ids[0], State: "due", Answer: "refused", Changed: true})
	expect(s.call(root, "POST", path(ids[1], "settle"), note), refund{ID: ids[1], State: "done", Answer: "by an operator: transfer 4711", Changed: true})
	expect(s.call(root, "POST", path(ids[1], "retry"), nil), refund{ID: ids[1], State: "done", Answer: "by an operator: transfer 4711"})
	var list struct{ Refunds []refund }
	s.call(root, "GET", "/api/admin/refunds?state=parked", nil).want(200, "").into(&list)
	if len(list.Refunds) != 0 {
		t.Errorf("still parked: %+v", list.Refunds)
	}
}
