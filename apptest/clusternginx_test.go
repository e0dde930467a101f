//go:build linux

package apptest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
)

// nginxRestarts is how often nginx is restarted under load.
const nginxRestarts = 5

// TestClusterRestartsNginx restarts nginx under load: whoever connects is served, purchases on connections that are
// kept open are answered, and what is under way is finished. What cannot work leaves the old one serving.
func TestClusterRestartsNginx(t *testing.T) {
	c := newLocalCluster(t, "100ms")
	c.up()
	edge := c.state().Edge
	alice := c.signIn("alice")
	order := c.buy(alice, "1")
	if got := c.order(alice, order, "10s"); got != "unpaid" {
		t.Fatalf("the order is %q", got)
	}
	const buyers = 20_000
	c.operator("sale", "create", "shift", "--title", "Shift", "--stock", strconv.Itoa(buyers), "--price", "100", "--open")
	tokens := filepath.Join(t.TempDir(), "users.csv")
	if r := c.operator("token", "--users", strconv.Itoa(buyers), "--out", tokens); r.Code != 0 {
		t.Fatalf("tokens: %s", r.Stderr)
	}
	all, err := crowd.ReadBuyers(tokens)
	if err != nil {
		t.Fatal(err)
	}
	// A connection that is kept open may be closed at the moment at which a request comes: HTTP clients repeat it
	// then, where a repetition does no harm. The key says so of a purchase.
	var pressed atomic.Int64
	kept := startCallers(t, true, 20*time.Millisecond, func() *http.Request {
		n := int(pressed.Add(1)) - 1
		if n >= len(all) {
			return nil
		}
		r := sends(t, http.MethodPost, edge+"/api/sales/shift/orders", all[n].Token, `{"quantity":1}`)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "only")
		return r
	})
	fresh := startCallers(t, false, 5*time.Millisecond, func() *http.Request { return sends(t, http.MethodGet, edge+"/api/sales", "", "") })
	waitFor(t, 20*time.Second, "people buy and look", func() bool { return kept.count("202") > 100 && fresh.count("200") > 100 })

	pid := c.member("nginx").PID
	for range nginxRestarts {
		before := fresh.count("200")
		polled := make(chan string, 1)
		go func() {
			polled <- statusOf(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, sends(t, http.MethodGet, edge+"/api/orders/"+order+"?wait=2s", alice, ""))
		}()
		waitFor(t, 10*time.Second, "people look on", func() bool { return fresh.count("200") > before+50 })
		c.must("restart", "nginx")
		if got := <-polled; got != "200" {
			t.Errorf("a long poll under way: %s", got)
		}
		m := c.member("nginx")
		if m.PID == pid || m.State != "running" || m.Note != "" {
			t.Errorf("after a restart nginx is %+v, before its process was %d", m, pid)
		}
		pid = m.PID
	}
	config := filepath.Join(c.folder, "config", "nginx.conf")
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, bytes.Replace(text, []byte("proxy_buffering off;"), []byte("proxy_bufering off;"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := c.run("restart", "nginx"); r.Code == 0 || !strings.Contains(r.Stderr, "proxy_bufering") {
		t.Errorf("with a config that is wrong: exit code %d, %q", r.Code, r.Stderr)
	}
	if m := c.member("nginx"); m.PID != pid || m.State != "running" {
		t.Errorf("after a restart that could not be nginx is %+v, want process %d", m, pid)
	}
	kept.stop()
	fresh.stop()
	t.Logf("while nginx was restarted %d times: purchases %v, new connections %v", nginxRestarts, kept.answers, fresh.answers)
	for what, n := range kept.answers {
		if what != "202" {
			t.Errorf("purchases: %d times %s", n, what)
		}
	}
	for what, n := range fresh.answers {
		if what != "200" {
			t.Errorf("new connections: %d times %s", n, what)
		}
	}
}

// callers make requests and count the answers, by status or error.
type callers struct {
	stop    func()
	mu      sync.Mutex
	answers map[string]int
}

func (c *callers) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[what]
}

// startCallers makes a request on each tick of eight callers until there is none left.
func startCallers(t *testing.T, keepAlive bool, pause time.Duration, next func() *http.Request) *callers {
	const side = 8
	c := &callers{answers: make(map[string]int)}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: side}, Timeout: 15 * time.Second}
	end := make(chan struct{})
	var group sync.WaitGroup
	for range side {
		group.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-end:
					return
				}
				request := next()
				if request == nil {
					return
				}
				what := statusOf(client, request)
				c.mu.Lock()
				c.answers[what]++
				c.mu.Unlock()
			}
		})
	}
	c.stop = sync.OnceFunc(func() { close(end); group.Wait(); client.CloseIdleConnections() })
	t.Cleanup(c.stop)
	return c
}

// statusOf makes a request and gives the status of its answer, or what went wrong.
func statusOf(client *http.Client, request *http.Request) string {
	response, err := client.Do(request)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		err = errors.Join(err, response.Body.Close())
	}
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(response.StatusCode)
}

// sends makes a request; its context ends with the test.
func sends(t *testing.T, method, url, token, body string) *http.Request {
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request
}
