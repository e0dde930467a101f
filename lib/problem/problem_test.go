package problem

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/problems.golden anew")

// Every code's whole answer, headers and body, as callers see it: a change here is a change of the API.
func TestGolden(t *testing.T) {
	held, left := int64(3), int64(0)
	var text strings.Builder
	show := func(p *Problem) {
		w := httptest.NewRecorder()
		p.WriteHTTP(w)
		fmt.Fprintf(&text, "%d %s\n", w.Code, w.Body)
		for _, name := range []string{"Content-Type", "Cache-Control", "Headgate-Code", "Retry-After"} {
			if value := w.Header().Get(name); value != "" {
				fmt.Fprintf(&text, "    %s: %s\n", name, value)
			}
		}
		if got, want := w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
			t.Errorf("%s: Content-Length is %s, the body has %s", p.Code, got, want)
		}
	}
	for _, code := range Codes() {
		show(New(code, ""))
	}
	full := New(UnknownOutcome, `a "detail" <b> & ü`+"\n\x00\xff\u2028")
	full.Instance, full.OrderID, full.Ticket, full.OpensAt, full.RetryAfter = "r1", "123", "v1.a.b.c", 1790000000000, 7
	full.Held, full.Left = &held, &left
	full.Errors = []FieldProblem{{"quantity", "must be at least 1"}, {"key", "is too long"}}
	show(full.Because(errors.New("never shown")))

	const golden = "testdata/problems.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, code := range Codes() {
		if seen[code] {
			t.Errorf("%s is in the table twice", code)
		}
		seen[code] = true
		status := code.Status()
		if status < 400 || status > 599 || code.Title() == "" || strings.ToLower(string(code)) != string(code) {
			t.Errorf("%s: status %d, title %q", code, status, code.Title())
		}
		if code.Waits() != (status == 429 || status == 503) {
			t.Errorf("%s with status %d: Waits is %v", code, status, code.Waits())
		}
		if p := New(code, ""); (p.RetrySeconds() >= 1) != code.Waits() {
			t.Errorf("%s: Retry-After is %d", code, p.RetrySeconds())
		}
		if back := FromStatus(status); back.Status() != status && back != InvalidRequest && status != 410 {
			t.Errorf("%s: status %d comes back as %s (%d)", code, status, back, back.Status())
		}
	}
	if Code("nonsense").Status() != 500 || Code("nonsense").Title() == "" {
		t.Error("an unknown code must look like a defect of ours")
	}
}

// Statuses of DESIGN.md, written down a second time on purpose.
func TestStatuses(t *testing.T) {
	for status, codes := range map[int][]Code{
		400: {InvalidRequest}, 401: {Unauthenticated}, 403: {Forbidden, Blacklisted}, 404: {NotFound}, 410: {Ended}, 413: {BodyTooLarge},
		409: {SoldOut, Insufficient, AlreadyOrdered, LimitReached, NotOpen, NotCancellable, Conflict},
		429: {RateLimited, TooSoon}, 503: {UnknownOutcome, Overloaded, Unavailable, Paused},
	} {
		for _, code := range codes {
			if code.Status() != status {
				t.Errorf("%s has status %d, want %d", code, code.Status(), status)
			}
		}
	}
}

func TestRefusalsAndRESP(t *testing.T) {
	for word, want := range map[string]Code{
		"no_sale": NotFound, "paused": Paused, "not_open": NotOpen, "ended": Ended, "limit": LimitReached, "sold_out": SoldOut, "insufficient": Insufficient,
	} {
		if got, ok := FromRefusal(word); !ok || got != want {
			t.Errorf("%s is %s, %v", word, got, ok)
		}
	}
	for _, word := range []string{"", "reserved", "already", "SOLD_OUT"} {
		if got, ok := FromRefusal(word); ok {
			t.Errorf("%q is no refusal, and gives %s", word, got)
		}
	}
	for e, want := range map[RESPError]Code{
		RESPMoved: Unavailable, RESPTryAgain: Unavailable, RESPWrongShard: Unavailable, RESPUnknown: UnknownOutcome, RESPBusy: Overloaded,
		RESPConflict: Conflict, RESPErr: InvalidRequest, RESPNoAuth: Internal, RESPNoPerm: Internal, "NONSENSE": Internal,
	} {
		if got := FromRESP(e); got != want {
			t.Errorf("%s is %s, want %s", e, got, want)
		}
		if FromRESP(e) == SoldOut {
			t.Errorf("%s: a failure is shown as sold out", e)
		}
	}
}

// AppendJSON says the same as encoding/json with the struct's tags, whatever the texts hold.
func TestAppendJSONAgreesWithTheTags(t *testing.T) {
	type plain Problem // without the methods
	rapid.Check(t, func(t *rapid.T) {
		p := New(rapid.SampledFrom(Codes()).Draw(t, "code"), rapid.String().Draw(t, "detail"))
		p.Instance = rapid.String().Draw(t, "instance")
		p.OrderID = rapid.String().Draw(t, "order")
		p.Ticket = rapid.String().Draw(t, "ticket")
		p.OpensAt = rapid.Int64().Draw(t, "opens")
		p.Held = rapid.Ptr(rapid.Int64(), true).Draw(t, "held")
		p.Left = rapid.Ptr(rapid.Int64(), true).Draw(t, "left")
		for range rapid.IntRange(0, 3).Draw(t, "errors") {
			p.Errors = append(p.Errors, FieldProblem{rapid.String().Draw(t, "field"), rapid.String().Draw(t, "reason")})
		}
		want, err := json.Marshal((*plain)(p))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(p.AppendJSON(nil), &a); err != nil {
			t.Fatalf("%s: %v", p.AppendJSON(nil), err)
		}
		if err := json.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(a), fmt.Sprint(b); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		var back Problem
		if err := json.Unmarshal(p.AppendJSON(nil), &back); err != nil || back.Code != p.Code || back.Detail != strings.ToValidUTF8(p.Detail, "\ufffd") {
			t.Fatalf("read back %+v, %v", back, err)
		}
	})
}

func TestRetryAfterIsAtLeastOneAndOnlyWhereDue(t *testing.T) {
	for _, c := range []struct {
		code Code
		set  int
		want int
	}{{RateLimited, 0, 1}, {RateLimited, -3, 1}, {Paused, 9, 9}, {SoldOut, 9, 0}, {NotOpen, 5, 0}} {
		p := New(c.code, "")
		p.RetryAfter = c.set
		w := httptest.NewRecorder()
		p.WriteHTTP(w)
		want := ""
		if c.want > 0 {
			want = strconv.Itoa(c.want)
		}
		if got := w.Header().Get("Retry-After"); got != want || strings.Contains(w.Body.String(), "retry_after") != (want != "") {
			t.Errorf("%+v: header %q, body %s", c, got, w.Body)
		}
	}
}

func TestCauseStaysInside(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: refused")
	p := New(Unavailable, "try again").Because(cause)
	if !errors.Is(p, cause) || !strings.Contains(p.Error(), "10.0.0.1") {
		t.Errorf("the log does not get the cause: %v", p)
	}
	if strings.Contains(string(p.AppendJSON(nil)), "10.0.0.1") {
		t.Error("the caller gets the cause")
	}
	var as *Problem
	if !errors.As(fmt.Errorf("wrapped: %w", p), &as) || as.GetStatus() != 503 || as.ContentType("") != MediaType {
		t.Error("a wrapped problem is not found")
	}
}

func TestAppendJSONDoesNotAllocate(t *testing.T) {
	p := New(SoldOut, "no units are left")
	held := int64(4)
	p.Held = &held
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = p.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("AppendJSON allocates %v times", n)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	p := New(SoldOut, "no units are left")
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendJSON(buf[:0])
	}
}
