//go:build unix

package edges

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/apptest/programs"
	"headgate.example/apptest/signer"
	"headgate.example/apptest/voters"
)

// Spec says what a cluster is made of.
type Spec struct {
	Bin    programs.Binaries
	Edges  int    // in the config; each is started by Start
	Limits string // the `limits` of the config, as YAML in braces
	Grace  time.Duration
}

// Cluster is some edges of one config.
type Cluster struct {
	Edges   []*Edge
	Counter *voters.Shard
	Taken   atomic.Int64 // requests that the upstream was sent

	t      testing.TB
	spec   Spec
	folder string
	shop   string // host:port of the upstream
}

// Edge is one interceptor, running or not.
type Edge struct {
	Name    string
	Address string // host:port
	Admin   string // host:port
	*programs.Process

	cluster *Cluster
	config  string
}

const config = `service: {mode: development, admin: %[2]q, log_format: text, drain_for: 15s}
listen: %[1]q
self: %[3]s
peers: [%[4]s]
tokens: {keys: [{id: %[5]s, algorithm: HS256, secret: %[6]s}]}
ticket_keys: [{id: t1, secret: ticket-secret-for-edges}]
hop_keys: [{id: h1, secret: hop-secret-for-edges}]
counter: {shards: [{name: s1, number: 0, addresses: [%[7]q]}]}
upstreams: [{name: backend, addresses: [%[8]q]}]
limits: %[9]s
strikes: {too_soon: {mode: off}}
trusted_proxies: [127.0.0.1]
server: {drain_grace: %[10]s}
`

// New starts the counter and the upstream, and configures the edges.
func New(t testing.TB, spec Spec) *Cluster {
	t.Helper()
	c := &Cluster{t: t, spec: spec, folder: t.TempDir()}
	counter := filepath.Join(c.folder, "counter")
	if err := os.Mkdir(counter, 0o700); err != nil {
		t.Fatal(err)
	}
	shard, err := voters.New(spec.Bin.Path("counter"), counter, 1)
	if err != nil {
		t.Fatal(err)
	}
	c.Counter = shard
	t.Cleanup(shard.Close)
	if err := shard.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.startShop()
	addresses := programs.FreePorts(t, 2*spec.Edges)
	peers := make([]string, 0, spec.Edges)
	for i := range spec.Edges {
		name := fmt.Sprintf("edge-%d", i+1)
		c.Edges = append(c.Edges, &Edge{Name: name, Address: addresses[2*i], Admin: addresses[2*i+1], cluster: c, config: filepath.Join(c.folder, name+".yaml")})
		peers = append(peers, fmt.Sprintf("{name: %s, address: %q}", name, addresses[2*i]))
	}
	for _, e := range c.Edges {
		text := fmt.Appendf(nil, config, e.Address, e.Admin, e.Name, strings.Join(peers, ", "), signer.Key, signer.Secret,
			shard.Voters[0].Client, c.shop, spec.Limits, spec.Grace)
		if err := os.WriteFile(e.config, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// startShop starts the upstream in this process: it answers 200 to everything, which takes an order.
func (c *Cluster) startShop() {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.shop = listener.Addr().String()
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		c.Taken.Add(1)
		ctx.SetBodyString(`{"status":"queued"}`)
	}, CloseOnShutdown: true}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = server.ShutdownWithContext(ctx) // connections of edges that were killed may linger
		<-done
	})
}

// Start starts an edge and waits until it is ready.
func (e *Edge) Start() {
	c := e.cluster
	c.t.Helper()
	e.Process = programs.Start(c.t, programs.Spec{Name: e.Name, Path: c.spec.Bin.Path("interceptor"), Args: []string{"--config", e.config},
		Ready: "http://" + e.Admin + "/readyz"})
}

// Reload replaces text in the edge's config and asks it to read that again.
func (e *Edge) Reload(old, new string) {
	e.cluster.t.Helper()
	text, err := os.ReadFile(e.config)
	if err == nil && !strings.Contains(string(text), old) {
		err = fmt.Errorf("no %q in the config", old)
	}
	if err == nil {
		err = os.WriteFile(e.config, []byte(strings.ReplaceAll(string(text), old, new)), 0o600)
	}
	if err == nil {
		err = e.Hangup()
	}
	if err != nil {
		e.cluster.t.Fatal(err)
	}
}

// Ring is what an edge tells of the others.
type Ring struct {
	Epoch   string `json:"epoch"`
	Agreed  bool   `json:"agreed"`
	Pending int    `json:"pending_partitions"`
	Careful int    `json:"careful_partitions"`
	Members []struct {
		Name  string  `json:"name"`
		State string  `json:"state"`
		Share float64 `json:"share"`
		// ConfigHash is that of what the member runs with.
		ConfigHash string `json:"config_hash"`
	} `json:"members"`
}

// Ring asks an edge's admin port.
func (e *Edge) Ring() (r Ring, err error) {
	err = e.Ask("/edge/ring", &r)
	return r, err
}

// Ask reads JSON from the admin port.
func (e *Edge) Ask(path string, answer any) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + e.Admin + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(answer)
}

// Owner is the edge that keeps a user's budgets, as this one sees it.
func (e *Edge) Owner(user string) (string, error) {
	var view struct {
		Owner string `json:"owner"`
	}
	err := e.Ask("/edge/user?id="+user, &view)
	return view.Owner, err
}

// Agreed reports whether all the given edges, and no others, make up a ring that all of them see alike.
func Agreed(edges ...*Edge) bool {
	for _, e := range edges {
		ring, err := e.Ring()
		if err != nil || !ring.Agreed || ring.Pending > 0 || ring.Careful > 0 {
			return false
		}
		serving := 0
		for _, m := range ring.Members {
			if m.State == "serving" {
				serving++
			}
		}
		if serving != len(edges) {
			return false
		}
	}
	return true
}

// Metric sums the values of the metrics that begin with a text, over the edges that run.
func (c *Cluster) Metric(prefix string) (sum float64) {
	c.t.Helper()
	for _, e := range c.Edges {
		sum += e.Metric(prefix)
	}
	return sum
}

// Metric is the sum at one edge; 0 while it does not run.
func (e *Edge) Metric(prefix string) (sum float64) {
	if e.Process == nil {
		return 0
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + e.Admin + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return sumOf(response.Body, prefix)
}
