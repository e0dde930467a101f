package apptest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"headgate.example/apptest/browser"
)

// scriptedShop serves the page's own scripts, and answers each press with the next line of a script.
type scriptedShop struct {
	mu      sync.Mutex
	answers []press
	tickets []string // the ticket that came with each press
}

// press is an answer to a press of the button; status 0 breaks off.
type press struct {
	status int
	body   string
}

func (s *scriptedShop) script(answers ...press) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers, s.tickets = answers, nil
}

func (s *scriptedShop) seen() (tickets []string, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tickets, len(s.answers)
}

func (s *scriptedShop) press(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets = append(s.tickets, r.Header.Get("Headgate-Ticket"))
	if len(s.answers) == 0 {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	if next.status == 0 { // in the middle of the answer: before it, the browser would repeat the request by itself
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if next.status == http.StatusTooManyRequests || next.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(next.status)
	_, _ = io.WriteString(w, next.body)
}

func code(status int, code, more string) press {
	return press{status, fmt.Sprintf(`{"status":%d,"code":%q%s}`, status, code, more)}
}

// TestPageRetries runs the page's purchase in a real browser against scripted answers: what is repeated,
// with which ticket, and what the buyer is told at the end.
func TestPageRetries(t *testing.T) {
	chromium := need(t, "HEADGATE_TEST_CHROMIUM")
	driver := needProgram(t, "chromedriver")
	shop := &scriptedShop{}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServer(http.Dir("../backend/web/assets"))))
	mux.HandleFunc("POST /api/sales/1/orders", shop.press)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>retries</title>")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	page := browser.Open(t, driver, chromium, 390, 844)
	page.Go(server.URL + "/")

	unknown, taken := code(503, "unknown_outcome", `,"order_id":"7","ticket":"v1.t"`), press{202, `{"order_id":"7","status":"queued"}`}
	overloaded, soldOut := code(503, "overloaded", ""), code(409, "sold_out", "")
	for name, c := range map[string]struct {
		answers []press
		tickets []string // of each press
		order   string
		earlier bool
		told    string // the code of what is shown last
		tone    string
	}{
		"taken at once":              {[]press{taken}, []string{""}, "7", false, "", ""},
		"taken after a while":        {[]press{overloaded, code(429, "too_soon", ""), taken}, []string{"", "", ""}, "7", false, "", ""},
		"the ticket comes along":     {[]press{unknown, overloaded, taken}, []string{"", "v1.t", "v1.t"}, "7", false, "", ""},
		"no answer, then found":      {[]press{{}, code(409, "already_ordered", `,"order_id":"7"`)}, []string{"", ""}, "7", false, "", ""},
		"had one before":             {[]press{code(409, "already_ordered", `,"order_id":"7"`)}, []string{""}, "7", true, "", ""},
		"sold out is final":          {[]press{soldOut}, []string{""}, "", false, "sold_out", "bad"},
		"sold out ends doubt":        {[]press{unknown, soldOut}, []string{"", "v1.t"}, "", false, "sold_out", "bad"},
		"temporary to the end":       {slices.Repeat([]press{overloaded}, 8), make([]string, 8), "", false, "overloaded", "bad"},
		"doubt to the end":           {append([]press{{}}, slices.Repeat([]press{overloaded}, 7)...), make([]string, 8), "", false, "unknown_outcome", "wait"},
		"a proxy's page is in doubt": {append([]press{{502, "<html>"}}, slices.Repeat([]press{overloaded}, 7)...), make([]string, 8), "", false, "unknown_outcome", "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			shop.script(c.answers...)
			page.Eval(nil, `
				let now = 0;
				performance.now = () => now += 1e6; // pauses are over at once
				window.done = null;
				let last = {};
				import("/assets/buy.js")
					.then((m) => m.buy("1", 1, (view) => { last = view; }, new AbortController().signal))
					.then((result) => { window.done = { ...result, last }; }, (fault) => { window.done = { fault: String(fault), last }; });`)
			page.Wait(patience, "the purchase is over", "window.done")
			var done struct {
				Order, Fault string
				Earlier      bool
				Last         struct{ Code, Tone string }
			}
			page.Eval(&done, "return window.done")
			tickets, left := shop.seen()
			if !slices.Equal(tickets, c.tickets) || left > 0 {
				t.Errorf("pressed with the tickets %q, want %q; %d answers left", tickets, c.tickets, left)
			}
			if done.Fault != "" || done.Order != c.order || done.Earlier != c.earlier || done.Last.Code != c.told || done.Last.Tone != c.tone {
				t.Errorf("got %+v, want order %q, earlier %v, told %q in tone %q", done, c.order, c.earlier, c.told, c.tone)
			}
		})
	}
}
