package backend_test

import (
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

// TestRepairByHTTP: a counter that lost everything is rebuilt, once an operator says so.
func TestRepairByHTTP(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	s.consume(ticket)
	s.counter.Lose()
	var report struct {
		Applied bool
		Steps   []struct {
			Kind  string
			Count int
			Done  bool
		}
		Error string
	}
	const path = "/api/admin/sales/1/repair"
	s.call(alice, "POST", path, map[string]any{}).want(403, "forbidden")
	s.call(root, "POST", "/api/admin/sales/2/repair", map[string]any{}).want(404, "not_found")
	s.call(root, "POST", path, map[string]any{}).want(200, "").into(&report)
	if report.Applied || report.Error != "" || len(report.Steps) != 2 || report.Steps[1].Kind != "restore_shard" || report.Steps[1].Count != 1 || report.Steps[1].Done {
		t.Fatalf("%+v", report)
	}
	if _, err := s.counter.SaleInfo(t.Context(), "1"); err == nil {
		t.Fatal("a dry run rebuilt the sale")
	}
	s.call(root, "POST", path, map[string]any{"apply": true}).want(200, "").into(&report)
	if !report.Applied || report.Error != "" || !report.Steps[1].Done {
		t.Fatalf("%+v", report)
	}
	if h, err := s.counter.Order(t.Context(), ticket.Order); err != nil || h.State != sale.Confirmed || h.Binding != ticket.Binding() {
		t.Fatalf("%+v, %v", h, err)
	}
	var audit struct{ Verdict string }
	servicetest.Eventually(t, 30*time.Second, "the audit holds", func() bool {
		s.call(root, "GET", "/api/admin/sales/1/audit", nil).want(200, "").into(&audit)
		return audit.Verdict == "holds"
	})
	s.call(root, "POST", "/api/admin/sales/1/resume", nil).want(200, "")
	s.hold("1", "a2")
}

// An audit that could not read everything is what the document says that it is.
func TestAuditIsAsDocumented(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Required []string }
		}
	}
	s.call(nobody, "GET", "/openapi.json", nil).want(200, "").into(&doc)
	s.counter.Fail(client.ErrUnavailable)
	var report map[string]any
	s.call(root, "GET", "/api/admin/sales/1/audit", nil).want(200, "").into(&report)
	if report["verdict"] != "unreachable" {
		t.Fatalf("with the counter away: %v", report)
	}
	for _, field := range doc.Components.Schemas["Report"].Required {
		if report[field] == nil {
			t.Errorf("%s is required, and is not there: %v", field, report)
		}
	}
}
