package sandbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keys(ids ...string) payment.SandboxConfig {
	var cfg payment.SandboxConfig
	for _, id := range ids {
		cfg.Keys = append(cfg.Keys, auth.SymmetricKey{ID: id, Secret: "0123456789abcdef"})
	}
	return cfg
}

func open(t testing.TB, books sandbox.Books, ids ...string) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(keys(ids...), books)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func request(reference string, within time.Duration) payment.Request {
	return payment.Request{Reference: reference, Order: 7, AmountMinor: 250, Currency: "CNY", ExpiresAt: time.Now().Add(within)}
}

// begin gives the reference and the proof of a pay page.
func begin(t testing.TB, box *sandbox.Sandbox, r payment.Request) (reference, proof string) {
	t.Helper()
	page, err := box.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(page, "?")
	values, err := url.ParseQuery(query)
	if path != sandbox.PagePath || err != nil {
		t.Fatalf("page %q: %v", page, err)
	}
	return values.Get("reference"), values.Get("proof")
}

func TestBegin(t *testing.T) {
	box := open(t, storetest.SQLite(t), "a")
	r := request("7-1", time.Hour)
	reference, proof := begin(t, box, r)
	if again, sameProof := begin(t, box, r); again != reference || sameProof != proof {
		t.Fatal("the same reference has another page")
	}
	dearer := r
	dearer.AmountMinor++
	if _, err := box.Begin(t.Context(), dearer); !errors.Is(err, payment.ErrRefused) {
		t.Fatalf("one reference for another sum: %v", err)
	}
	for _, wrong := range []string{"", "x", "a.", proof + "x", "b" + proof[1:]} {
		if _, err := box.Pay(t.Context(), reference, wrong); !errors.Is(err, sandbox.ErrPage) {
			t.Errorf("proof %q: %v", wrong, err)
		}
	}
	n, err := box.Query(t.Context(), reference)
	if err != nil || n.State != payment.Open {
		t.Fatalf("%+v, %v", n, err)
	}
	if _, err := box.Query(t.Context(), "unheard of"); !errors.Is(err, payment.ErrUnknownReference) {
		t.Fatalf("asked about a payment that was never begun: %v", err)
	}
}

// TestBeginTooLate: a payment that is new once it has expired is refused, so that one which is unknown
// then stays unknown. One that was begun in time keeps its page.
func TestBeginTooLate(t *testing.T) {
	box := open(t, storetest.SQLite(t), "a")
	if _, err := box.Begin(t.Context(), request("7-1", -time.Millisecond)); !errors.Is(err, payment.ErrRefused) {
		t.Fatalf("beginning an expired payment: %v", err)
	}
	if _, err := box.Query(t.Context(), "7-1"); !errors.Is(err, payment.ErrUnknownReference) {
		t.Fatalf("asked about a payment that was refused: %v", err)
	}
	reference, _ := beginExpired(t, box)
	if again, _ := begin(t, box, request(reference, -time.Hour)); again != reference {
		t.Fatalf("the page of %s is that of %s", reference, again)
	}
}

// beginExpired begins a payment and waits until it has expired.
func beginExpired(t testing.TB, box *sandbox.Sandbox) (reference, proof string) {
	t.Helper()
	reference, proof = begin(t, box, request("7-2", 300*time.Millisecond))
	servicetest.Eventually(t, 30*time.Second, "the payment expires", func() bool {
		n, err := box.Query(t.Context(), reference)
		return err == nil && n.State == payment.Closed
	})
	return reference, proof
}

func TestPayAndRefund(t *testing.T) {
	box := open(t, storetest.SQLite(t), "a")
	ctx := t.Context()
	reference, proof := begin(t, box, request("7-1", time.Hour))
	give := payment.Refund{ID: "r", Reference: reference, AmountMinor: 250}
	if err := box.Refund(ctx, give); !errors.Is(err, payment.ErrRefused) {
		t.Fatalf("a refund before the payment: %v", err)
	}
	for range 2 {
		if row, err := box.Pay(ctx, reference, proof); err != nil || row.State != store.SandboxPaid {
			t.Fatalf("%+v, %v", row, err)
		}
	}
	n, err := box.Query(ctx, reference)
	if err != nil || n.State != payment.Paid || n.AmountMinor != 250 {
		t.Fatalf("%+v, %v", n, err)
	}
	for range 2 {
		if err := box.Refund(ctx, give); err != nil {
			t.Fatal(err)
		}
	}
	give.AmountMinor = 100
	if err := box.Refund(ctx, give); !errors.Is(err, payment.ErrRefused) {
		t.Fatalf("a second refund of another sum: %v", err)
	}
}

func TestExpired(t *testing.T) {
	box := open(t, storetest.SQLite(t), "a")
	ctx := t.Context()
	reference, proof := beginExpired(t, box)
	if _, err := box.Pay(ctx, reference, proof); !errors.Is(err, sandbox.ErrClosed) {
		t.Fatalf("paying an expired payment: %v", err)
	}
	if n, err := box.Query(ctx, reference); err != nil || n.State != payment.Closed {
		t.Fatalf("%+v, %v", n, err)
	}
	if err := box.SetBehaviour(ctx, sandbox.Behaviour{Late: true}); err != nil {
		t.Fatal(err)
	}
	if row, err := box.Pay(ctx, reference, proof); err != nil || row.State != store.SandboxPaid {
		t.Fatalf("told to take money late: %+v, %v", row, err)
	}
	if err := box.SetBehaviour(ctx, sandbox.Behaviour{Repeat: sandbox.MaxRepeat + 1}); err == nil {
		t.Fatal("a behaviour beyond its bounds was taken")
	}
	if err := box.SetBehaviour(ctx, sandbox.Behaviour{Silent: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Query(ctx, reference); err == nil {
		t.Fatal("a silent sandbox answers")
	}
}

// shopfront takes callbacks, and refuses each for so many times.
type shopfront struct {
	mu     sync.Mutex
	refuse int
	seen   map[string]int // times that a body came
	events []string       // of those that verified, in their order
	forged int
}

func (f *shopfront) serve(box *sandbox.Sandbox) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the courier left
		}
		f.seen[string(body)+r.Header.Get(sandbox.SignatureHeader)]++
		notice, err := box.Verify(r.Header, body)
		if err != nil {
			f.forged++
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if f.seen[string(body)+r.Header.Get(sandbox.SignatureHeader)] <= f.refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.events = append(f.events, string(notice.State))
	}
}

// deliver pays a payment of a sandbox that behaves so, and lets the courier work until nothing is left.
func deliver(t *testing.T, refuse int, behaviour sandbox.Behaviour) *shopfront {
	t.Helper()
	ledger := storetest.SQLite(t)
	box := open(t, ledger, "a")
	if err := box.SetBehaviour(t.Context(), behaviour); err != nil {
		t.Fatal(err)
	}
	front := &shopfront{refuse: refuse, seen: map[string]int{}}
	server := httptest.NewServer(front.serve(box))
	defer server.Close()
	reference, proof := begin(t, box, request("7-1", time.Hour))
	if _, err := box.Pay(t.Context(), reference, proof); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sandbox.NewCourier(ledger, server.URL, servicetest.Log(t)).Run(ctx)
	}()
	servicetest.Eventually(t, 30*time.Second, "nothing is left to deliver", func() bool {
		left, err := ledger.CountSandboxCallbacks(t.Context())
		return err == nil && left == 0
	})
	stop()
	<-done
	return front
}

func TestCourier(t *testing.T) {
	for name, c := range map[string]struct {
		refuse    int
		behaviour sandbox.Behaviour
		events    []string
		forged    int
	}{
		"good":    {events: []string{"open", "paid"}},
		"refused": {refuse: 1, events: []string{"open", "paid"}},
		"repeat":  {behaviour: sandbox.Behaviour{Repeat: 1}, events: []string{"open", "paid", "open", "paid"}},
		"reorder": {behaviour: sandbox.Behaviour{Reorder: true}, events: []string{"paid", "open"}},
		"drop":    {behaviour: sandbox.Behaviour{Drop: true}},
		"forge":   {behaviour: sandbox.Behaviour{Forge: true, Drop: true}, forged: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := deliver(t, c.refuse, c.behaviour)
			if !slices.Equal(front.events, c.events) || front.forged != c.forged {
				t.Fatalf("events %v, %d forged; want %v, %d", front.events, front.forged, c.events, c.forged)
			}
		})
	}
}

// FuzzVerify: no bytes are believed without the key, and none break the reader.
func FuzzVerify(f *testing.F) {
	box := open(f, nil, "a", "b")
	f.Add([]byte(`{"version":1,"event":"paid","reference":"7-1","order":"7","amount_minor":250,"currency":"CNY","at":1}`), "a.AAAA")
	f.Add([]byte(`{`), "b.")
	f.Add([]byte{}, "")
	f.Add([]byte("\xff"), "..")
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		if n, err := box.Verify(http.Header{sandbox.SignatureHeader: {signature}}, body); !errors.Is(err, payment.ErrForged) {
			t.Fatalf("%q with signature %q: %+v, %v", body, signature, n, err)
		}
	})
}
