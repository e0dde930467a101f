package service

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
)

// openAdmin runs an admin port for as long as the test.
func openAdmin(t *testing.T, runtimes ...*Runtime) *Admin {
	t.Helper()
	a, err := OpenAdmin("127.0.0.1:0", runtimes...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the admin port: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return a
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestAdminOfSeveralLayers(t *testing.T) {
	one, two := NewRuntime("counter", servicetest.Log(t)), NewRuntime("backend", nil)
	one.ShowConfig(&map[string]any{"listen": "a", "password": config.Secret("hidden")})
	two.ShowConfig(&map[string]any{"listen": "b"})
	one.Metrics.NewCounter("headgate_counter_reserved_total").Inc()
	two.Metrics.NewCounter("headgate_backend_orders_total").Add(2)
	broken := errors.New("connection refused")
	var away error
	two.Health.Register("queue", Required, func(context.Context) error { return away })
	two.Health.Register("mail", Degraded, func(context.Context) error { return broken })
	a := openAdmin(t, one, two)
	// Layers add theirs when they open, which is after the port.
	two.Pages.HandleFunc("GET /extra/{name}", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "more of "+r.PathValue("name")) })
	base := "http://" + a.Addr()

	expect := func(path string, status int, parts ...string) string {
		t.Helper()
		code, body := get(t, base+path)
		if code != status {
			t.Errorf("%s: status %d, want %d: %s", path, code, status, body)
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				t.Errorf("%s: no %q in %s", path, part, body)
			}
		}
		return body
	}
	expect("/livez", 200, "ok")
	expect("/readyz", 503, "not ready")
	one.Health.SetReady(true)
	expect("/readyz?verbose", 503, "[-] backend/started: not yet")
	two.Health.SetReady(true)
	expect("/readyz", 200, "ok, degraded")
	expect("/readyz?verbose", 200, "[+] backend/queue (required): ok", "[-] backend/mail (degraded): connection refused")
	away = broken
	expect("/readyz?verbose", 503, "[-] backend/queue (required): connection refused")
	away = nil
	one.Health.SetDraining()
	expect("/readyz?verbose", 503, "[-] counter/draining")
	expect("/livez", 200)

	text := expect("/metrics", 200, "headgate_counter_reserved_total 1\n", "headgate_backend_orders_total 2\n",
		`headgate_build_info{program="counter",version="`, `headgate_build_info{program="backend"`, "process_cpu_seconds_total", "go_goroutines")
	if n := strings.Count(text, "\ngo_goroutines"); n != 1 {
		t.Errorf("the process's metrics come %d times", n)
	}
	expect("/config", 200, "# counter ", "password: '***'", "---\n# backend ", "listen: b")
	expect("/debug/pprof/", 200, "goroutine")
	expect("/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	expect("/debug/pprof/cmdline", 200)
	expect("/extra/this", 200, "more of this")
	expect("/nothing", 404)
}

// A page that an operator's browser shows can read nothing here, and command nothing either.
func TestAdminTakesNoCommandsFromPages(t *testing.T) {
	rt := NewRuntime("interceptor", nil)
	rt.Pages.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "draining") })
	a := openAdmin(t, rt)
	for header, want := range map[string]int{"": 200, "Origin: http://elsewhere": 403, "Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-origin": 200} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Addr()+"/drain", nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // only the status is wanted
		if answer.StatusCode != want {
			t.Errorf("%q: status %d, want %d", header, answer.StatusCode, want)
		}
	}
}

func TestAdminListensOnLoopbackUnlessTold(t *testing.T) {
	a, err := OpenAdmin(":0")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // a test's end
	if !strings.HasPrefix(a.Addr(), "127.0.0.1:") {
		t.Errorf("listens on %s", a.Addr())
	}
	if _, err := OpenAdmin(a.Addr()); err == nil || !strings.Contains(err.Error(), "service.admin: "+a.Addr()+" is taken by another program") {
		t.Errorf("an address that is taken: %v", err)
	}
}

// A page that never ends does not keep the port from closing.
func TestAdminClosesWithARequestUnderWay(t *testing.T) {
	entered := make(chan struct{})
	rt := NewRuntime("counter", nil)
	rt.Pages.HandleFunc("GET /hang", func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	a, err := OpenAdmin("127.0.0.1:0", rt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	failed := make(chan error, 1)
	go func() {
		answer, err := http.Get("http://" + a.Addr() + "/hang") //nolint:noctx // it is cut off by the server
		if err == nil {
			_ = answer.Body.Close() // nothing was wanted
		}
		failed <- err
	}()
	<-entered
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the request that hung was answered")
	}
	http.DefaultClient.CloseIdleConnections()
}
