package backend_test

import (
	"net/http"
	"testing"

	"headgate.example/backend"
	"headgate.example/lib/auth"
	"headgate.example/lib/queue"
)

// Edges that have not met a full queue yet hear of it before they reserve anything.
func TestHealthTellsWhetherOrdersAreTaken(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	_, text := s.hold("1", "a1")
	take := func() *answer {
		return s.call(alice, "POST", "/api/sales/1/orders", map[string]int{"quantity": 1}, auth.HeaderTicket, text)
	}
	says := func(status int, code string) {
		t.Helper()
		a := s.call(nobody, "GET", backend.HealthPath, nil)
		if a.status != status || a.header.Get(auth.HeaderCode) != code || (a.header.Get("Retry-After") != "") != (status == 503) {
			t.Errorf("got %d, code %q, Retry-After %q, want %d %q", a.status, a.header.Get(auth.HeaderCode), a.header.Get("Retry-After"), status, code)
		}
	}
	says(http.StatusOK, "")
	for _, full := range []error{queue.ErrFull, queue.ErrRefused, queue.ErrBlocked} {
		s.queue.script(queue.Outcome{Fate: queue.Refused, Err: full})
		take().want(503, "overloaded")
		says(503, "overloaded")
		take().want(200, "")
		says(200, "")
	}
	s.queue.script(queue.Outcome{Fate: queue.Refused, Err: queue.ErrTooLarge}, queue.Outcome{Fate: queue.Unknown, Err: queue.ErrTimeout})
	take().want(503, "unavailable")
	take().want(503, "unknown_outcome")
	says(200, "")
	s.queue.goAway(queue.ErrBlocked)
	says(503, "overloaded")
	s.queue.goAway(queue.ErrDisconnected)
	says(503, "unavailable")
}
