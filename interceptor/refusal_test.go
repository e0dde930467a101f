package interceptor

import (
	"bufio"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// Lines that are set at once are read as if each had been set by itself, however long they are.
func TestLinesAreHeaders(t *testing.T) {
	for _, length := range []int{1, len(placeholder), 3 * len(placeholder)} {
		var resp fasthttp.Response
		resp.Header.Set("Allow", "GET")
		long := strings.Repeat("x", length)
		setLines(&resp.Header, headerCacheControl, []byte("no-store\r\nX-Long: "+long+"\r\nX-Last: 1"))
		resp.Header.Add("Vary", "Origin")
		resp.SetBodyString("body")
		var text strings.Builder
		if _, err := resp.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text.String())), nil)
		if err != nil {
			t.Fatalf("%q: %v", text.String(), err)
		}
		for name, want := range map[string]string{"Allow": "GET", "Cache-Control": "no-store", "X-Long": long, "X-Last": "1", "Vary": "Origin", "Content-Length": "4"} {
			if values := got.Header.Values(name); len(values) != 1 || values[0] != want {
				t.Errorf("%s: %q, want %q", name, values, want)
			}
		}
		got.Body.Close()
	}
}

// A refusal has each of its headers once, as the caller of a limit sees them.
func TestHeadersOfARefusal(t *testing.T) {
	e := newEdge(t, nil)
	e.accepted(e.buy("a1"))
	a := e.buy("a1")
	for a.body.Code != "too_soon" { // the first may be told that it has an order
		a = e.buy("a1")
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "Headgate-Code", "Headgate-Request-Id", "Retry-After", "Ratelimit", "Ratelimit-Policy", "Content-Length", "Date"} {
		if values := a.header.Values(name); len(values) != 1 || values[0] == "" {
			t.Errorf("%s: %q", name, values)
		}
	}
	if len(a.header) != 9 {
		t.Errorf("%v", a.header)
	}
}

func TestCountersSumTheirCells(t *testing.T) {
	f := newFigures(metrics.NewSet())
	name := metricPrefix + `test_total{a="b"}`
	c := f.counter(name)
	if f.counter(name) != c {
		t.Error("a name has two counters")
	}
	var group sync.WaitGroup
	for cell := range uint32(3 * counterCells) {
		group.Go(func() {
			for range 100 {
				c.inc(cell)
			}
		})
	}
	group.Wait()
	var page strings.Builder
	f.set.WritePrometheus(&page)
	if want := name + " 2400\n"; c.sum() != 2400 || !strings.Contains(page.String(), want) {
		t.Errorf("%d, and no %q in\n%s", c.sum(), want, page.String())
	}
}
