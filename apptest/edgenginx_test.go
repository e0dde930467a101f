//go:build unix

package apptest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/edges"
	"headgate.example/apptest/signer"
)

// shopper is one buyer with a browser's cookies.
type shopper struct {
	token  string
	client *http.Client
}

func newShoppers(t *testing.T, prefix string, count int, transport *http.Transport) []*shopper {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	list := make([]*shopper, 0, count)
	for _, token := range signer.New().Many(prefix, count) {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &shopper{token: token, client: &http.Client{Transport: transport, Jar: jar, Timeout: 20 * time.Second}})
	}
	return list
}

// do sends a request and gives the status; what is answered is read to its end.
func (s *shopper) do(ctx context.Context, method, url string) (status int, text string, err error) {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"quantity":1}`)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, "", err
	}
	req.GetBody = nil // so that nothing repeats a POST by itself
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// TestEdgesRestartBehindNginx restarts each of three edges in turn, behind nginx with the sample config,
// while people buy and look at their orders: no request fails.
func TestEdgesRestartBehindNginx(t *testing.T) {
	nginx := need(t, "HEADGATE_TEST_NGINX")
	cluster := edges.New(t, edges.Spec{Bin: bin, Edges: 3, Grace: 2500 * time.Millisecond,
		Limits: "{user_interval: {mode: off}, user_bucket: {rate: 1000, burst: 1000}}"})
	for _, e := range cluster.Edges {
		e.Start()
	}
	waitFor(t, patience, "the edges agree", func() bool { return edges.Agreed(cluster.Edges...) })
	if err := cluster.Counter.OpenSale(t.Context(), "1", 1_000_000, 1000); err != nil {
		t.Fatal(err)
	}
	address := "http://" + cluster.Nginx(nginx, "", "")
	shoppers := newShoppers(t, "s", 400, &http.Transport{MaxIdleConnsPerHost: 64})
	for _, e := range cluster.Edges { // each fetches the sales by itself, four times a second
		waitFor(t, patience, "every edge has heard of the sale", func() bool {
			return slices.IndexFunc(shoppers[:30], func(who *shopper) bool {
				status, _, err := who.do(t.Context(), http.MethodPost, "http://"+e.Address+"/api/sales/1/orders")
				return err != nil || status != 202 && status != 409
			}) < 0
		})
	}

	stop := make(chan struct{})
	var group sync.WaitGroup
	var requests, orders atomic.Int64
	for range 12 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				who := shoppers[rand.IntN(len(shoppers))]
				method, target := http.MethodGet, "/api/orders"
				if rand.IntN(3) == 0 {
					method, target = http.MethodPost, "/api/sales/1/orders"
				}
				status, text, err := who.do(t.Context(), method, address+target)
				requests.Add(1)
				switch {
				case err != nil:
					t.Errorf("%s %s: %v", method, target, err)
				case status == 202:
					orders.Add(1)
				case status != 200 && status != 409:
					t.Errorf("%s %s: %d %s", method, target, status, text)
				}
			}
		})
	}
	for _, e := range cluster.Edges {
		before := requests.Load()
		waitFor(t, patience, "requests go on", func() bool { return requests.Load() > before+500 })
		if code := e.Stop(20 * time.Second); code != 0 {
			t.Errorf("%s ended with exit code %d\n%s", e.Name, code, e.Log())
		}
		before = requests.Load()
		waitFor(t, patience, "requests go on without it", func() bool { return requests.Load() > before+300 })
		e.Start()
		waitFor(t, patience, "the edges agree again", func() bool { return edges.Agreed(cluster.Edges...) })
	}
	close(stop)
	group.Wait()
	t.Logf("%d requests, %d orders, while each of three edges restarted: none may fail", requests.Load(), orders.Load())
}

// TestAffinityCookieSparesTheHop measures how many requests hop behind nginx with the sample config, and
// with one that does not look at the cookie.
func TestAffinityCookieSparesTheHop(t *testing.T) {
	nginx := need(t, "HEADGATE_TEST_NGINX")
	cluster := edges.New(t, edges.Spec{Bin: bin, Edges: 3, Limits: "{user_bucket: {rate: 1000, burst: 1000}}"})
	for _, e := range cluster.Edges {
		e.Start()
	}
	waitFor(t, patience, "the edges agree", func() bool { return edges.Agreed(cluster.Edges...) })
	share := func(prefix, address string) float64 {
		hops, owned := cluster.Metric("headgate_edge_hops_total"), cluster.Metric("headgate_edge_owned_requests_total")
		// owned_requests_total counts what arrived at its owner from outside, hops_total what did not.
		shoppers := newShoppers(t, prefix, 150, &http.Transport{MaxIdleConnsPerHost: 16})
		for range 20 {
			for _, who := range shoppers {
				if status, text, err := who.do(t.Context(), http.MethodGet, "http://"+address+"/api/orders"); err != nil || status != 200 {
					t.Fatalf("%d %s %v", status, text, err)
				}
			}
		}
		hops, owned = cluster.Metric("headgate_edge_hops_total")-hops, cluster.Metric("headgate_edge_owned_requests_total")-owned
		if total := hops + owned; total != 3000 {
			t.Errorf("%v hops and %v requests at their owner, want 3000 in all", hops, owned)
		}
		return hops / (hops + owned)
	}
	without := share("w", cluster.Nginx(nginx, "$cookie_headgate_edge", "$cookie_nothing"))
	with := share("c", cluster.Nginx(nginx, "", ""))
	t.Logf("share of requests that hop: %s without the cookie, %s with it", percent(without), percent(with))
	if without < 0.5 || with > 0.1 {
		t.Errorf("want about 2/3 without the cookie, and little more than one request of each user in 20 with it")
	}
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
