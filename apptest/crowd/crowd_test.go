package crowd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// shop sells stock units, one per user, and answers each user's first press as if overloaded.
type shop struct {
	mu    sync.Mutex
	stock int
	seen  map[string]bool
	sold  map[string]bool
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) {
		w.Header().Set("Headgate-Code", code)
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"status":%d}`, code, status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.URL.Path != "/api/sales/s/orders":
		refuse(http.StatusNotFound, "not_found")
	case !s.seen[user]:
		s.seen[user] = true
		refuse(http.StatusServiceUnavailable, "overloaded")
	case s.sold[user]:
		refuse(http.StatusConflict, "already_ordered")
	case s.stock == 0:
		refuse(http.StatusConflict, "sold_out")
	default:
		s.stock--
		s.sold[user] = true
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"order_id":"%d","status":"queued"}`, 1000+s.stock)
	}
}

func buyers(n int) []Buyer {
	out := make([]Buyer, n)
	for i := range out {
		out[i] = Buyer{User: fmt.Sprintf("u%d", i), Token: fmt.Sprintf("t%d", i)}
	}
	return out
}

func TestEveryBuyerGetsAFinalAnswer(t *testing.T) {
	server := httptest.NewServer(&shop{stock: 30, seen: map[string]bool{}, sold: map[string]bool{}})
	defer server.Close()
	report, err := Run(t.Context(), Plan{Base: server.URL, Sale: "s", Connections: 20, Rounds: 3, Pause: 1,
		Twice: func(i int) bool { return i%5 == 0 }}, buyers(200))
	if err != nil {
		t.Fatal(err)
	}
	if report.Undecided != 0 {
		t.Errorf("%d buyers without a final answer", report.Undecided)
	}
	counts := report.Counts()
	// The second of two presses is the buyer's second, so each buyer was turned away once and, pressing
	// again or having pressed twice, decided once.
	if counts["202"] != 30 || counts["503 overloaded"] != 200 || counts["409 sold_out"] != 170 || len(report.Answers) != 400 {
		t.Errorf("answers: %v", counts)
	}
}

func TestBrokenAnswersAreNamed(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"202 without an order":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); fmt.Fprint(w, `{}`) },
		"refusal without a code": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409); fmt.Fprint(w, `{}`) },
		"no JSON":                func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); fmt.Fprint(w, `<html>`) },
		"503 without Retry-After": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Headgate-Code", "x")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"code":"x"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			report, err := Run(t.Context(), Plan{Base: server.URL, Sale: "s"}, buyers(1))
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Answers) != 1 || !report.Answers[0].Broken || report.Answers[0].What() != "broken answer" {
				t.Errorf("got %+v", report.Answers)
			}
		})
	}
}

func TestNoServerIsNoAnswer(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	report, err := Run(t.Context(), Plan{Base: server.URL, Sale: "s"}, buyers(3))
	if err != nil {
		t.Fatal(err)
	}
	if report.Undecided != 3 || report.Counts()["no answer"] != 3 {
		t.Errorf("undecided %d, answers %v", report.Undecided, report.Counts())
	}
}

func TestPlanIsChecked(t *testing.T) {
	for name, plan := range map[string]Plan{
		"another host":     {Base: "http://192.0.2.1:8080"},
		"no address":       {Base: "localhost"},
		"too many at once": {Base: "http://127.0.0.1:1", Connections: MaxConnections + 1},
	} {
		if _, err := Run(t.Context(), plan, buyers(1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Run(t.Context(), Plan{Base: "http://127.0.0.1:1"}, nil); err == nil {
		t.Error("no buyers: no error")
	}
}

func TestReadBuyers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.csv")
	for text, want := range map[string]string{
		"user,token\nu1,a.b.c\nu2,d.e.f\n": "",
		"u1,a.b.c\n":                       "line 1",
		"user,token\nu1\n":                 "line 2",
		"user,token\nu1,a\nu2,b,c\n":       "line 3",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadBuyers(path)
		if want == "" && (err != nil || len(got) != 2 || got[1] != (Buyer{User: "u2", Token: "d.e.f"})) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want one that names %s", text, err, want)
		}
	}
}
