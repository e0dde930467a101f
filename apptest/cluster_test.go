//go:build linux

package apptest

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"headgate.example/apptest/programs"
)

// TestClusterOnOneMachine takes the README's steps: up, sign in, buy through nginx, pay, audit, status, down.
// On the way a member is killed, another cut off, the supervisor killed; nothing may be left behind.
// It runs alone: beside another cluster it might be in the way of that one's ports.
func TestClusterOnOneMachine(t *testing.T) {
	c := newLocalCluster(t, "300ms")
	c.up()
	secrets, err := os.Stat(filepath.Join(c.folder, "cluster.env"))
	if err != nil || secrets.Mode().Perm() != 0o600 {
		t.Errorf("the secrets' file: %v, %v", secrets, err)
	}

	alice := c.signIn("alice")
	order := c.buy(alice, "1")
	if got := c.order(alice, order, "10s"); got != "unpaid" {
		t.Errorf("alice's order is %q, want unpaid", got)
	}
	c.pay(alice, order)
	catalogueIsCached(t, c.state().Edge)
	for name, want := range map[string]int{"alice": http.StatusForbidden, "admin": http.StatusOK} {
		var answer map[string]any
		if got := request(t, http.MethodGet, c.state().Edge+"/api/admin/sales", c.signIn(name), nil, &answer); got != want {
			t.Errorf("%s is answered %d by the operator's API, want %d", name, got, want)
		}
	}
	if r := c.operator("audit", "--wait", "30s"); r.Code != 0 {
		t.Errorf("audit: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.isWell(3, 2)

	c.killAndStart("counter-s1-1")
	c.cutAndHeal()

	// The supervisor dies: whatever it left is found and ended, and so are the cuts.
	c.must("cut", "backend-1")
	if err := syscall.Kill(c.state().Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, patience, "status says that the supervisor is gone", func() bool {
		r := c.run("status")
		return r.Code == 1 && strings.Contains(r.Stderr, "still run") && strings.Contains(r.Stderr, "mariadb")
	})
	if said := c.must("down"); !strings.Contains(said, "was killed and left") {
		t.Errorf("down said %q", said)
	}
	c.nothingLeft()

	// What was bought is still there.
	c.up()
	if got := c.order(alice, order, "0s"); got != "paid" {
		t.Errorf("alice's order is %q after a crash of everything, want paid", got)
	}
	c.must("down")
	c.nothingLeft()
	if r := c.run("status"); r.Code != 1 || !strings.Contains(r.Stderr, "not running") {
		t.Errorf("status: exit code %d, %q", r.Code, r.Stderr)
	}
	c.must("down", "--wipe")
	if _, err := os.Stat(c.folder); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestClusterGrows adds an interceptor and a shard of the counter to a running cluster, each by one command.
func TestClusterGrows(t *testing.T) {
	t.Parallel()
	c := newLocalCluster(t, "100ms")
	c.up()
	t.Log(c.must("add", "interceptor-4"))
	t.Log(c.must("add", "shard-s3"))
	c.isWell(4, 3)
	if r := c.operator("sale", "create", "wide", "--title", "Wide", "--stock", "30", "--price", "100", "--open"); r.Code != 0 {
		t.Fatalf("creating a sale: %s", r.Stderr)
	}
	c.buy(c.signIn("bob"), "wide")
	r := c.operator("audit", "--sale", "wide", "--wait", "30s")
	if r.Code != 0 || !strings.Contains(r.Stdout, "shard s3") {
		t.Errorf("audit: exit code %d; the new sale is to be sold by three shards\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if old := c.operator("audit", "--sale", "1"); old.Code != 0 || strings.Contains(old.Stdout, "shard s3") {
		t.Errorf("audit: exit code %d; the old sale keeps its two shards\n%s%s", old.Code, old.Stdout, old.Stderr)
	}
	for name, want := range map[string]string{"interceptor-4": "there already", "shard-s3": "there already", "nginx-2": "want interceptor-N"} {
		if r := c.run("add", name); r.Code != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("add %s: exit code %d, %q", name, r.Code, r.Stderr)
		}
	}
}

// TestClusterRefusesToStart: what is in the way is told with its place and what to do, and nothing is left running.
func TestClusterRefusesToStart(t *testing.T) {
	c := newLocalCluster(t, "")
	port := func() string {
		shift, err := strconv.Atoi(c.shift)
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + strconv.Itoa(8091+shift)
	}
	refused := func(wants ...string) {
		t.Helper()
		r := c.tryUp()
		for _, want := range wants {
			if r.Code != 1 || !strings.Contains(r.Stderr, want) {
				t.Errorf("up: exit code %d, want one that names %q:\n%s", r.Code, want, r.Stderr)
			}
		}
		nobodyWorksBelow(t, c.folder)
		if err := os.RemoveAll(c.folder); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", port())
	if err != nil {
		t.Skipf("the port is taken by chance: %v", err)
	}
	refused("backend-1", port(), "(listen)", "(process "+strconv.Itoa(os.Getpid())+")", "--shift")
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(c.source, "consumer-2.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.edit("consumer-2.yaml", "max_connections", "max_conections")
	refused("consumer-2.yaml:", `did you mean "max_connections"?`)
	if err := os.WriteFile(filepath.Join(c.source, "consumer-2.yaml"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	c.edit("nginx.conf", "proxy_buffering off;", "proxy_bufering off;")
	refused("nginx", "proxy_bufering")
	c.edit("nginx.conf", "proxy_bufering off;", "proxy_buffering off;")
	c.edit("cluster.yaml", "config: backend-2.yaml", "config: backend-1.yaml")
	refused("backend-2", "backend-1", "is taken by")
	c.edit("cluster.yaml", "name: backend-2, config: backend-1.yaml", "name: backend-2, config: backend-2.yaml")

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"up"}, {"down", "--wipe"}} {
		r := programs.Run(t, bin.Path("cluster"), append(args, "--folder", foreign)...)
		if r.Code != 1 || !strings.Contains(r.Stderr, "is not a cluster's folder") {
			t.Errorf("%v on a foreign folder: exit code %d, %s", args, r.Code, r.Stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.txt")); err != nil {
		t.Error(err)
	}
}

// pay pays an order in the sandbox.
func (c *localCluster) pay(token, order string) {
	c.t.Helper()
	edge := c.state().Edge
	var answer struct {
		Payment struct {
			Page string `json:"page"`
		} `json:"payment"`
	}
	if status := post(c.t, edge+"/api/orders/"+order+"/pay", token, nil, &answer); status/100 != 2 || answer.Payment.Page == "" {
		c.t.Fatalf("paying: %d, page %q", status, answer.Payment.Page)
	}
	page, err := http.Post(edge+answer.Payment.Page, "", nil) //nolint:gosec // our own edge
	if err != nil {
		c.t.Fatal(err)
	}
	_ = page.Body.Close()
	waitFor(c.t, patience, "the order is paid", func() bool { return c.order(token, order, "1s") == "paid" })
}

// catalogueIsCached: nginx asks the interceptors once, not for everybody.
func catalogueIsCached(t *testing.T, edge string) {
	t.Helper()
	waitFor(t, patience, "the catalogue comes from nginx' cache", func() bool {
		response, err := http.Get(edge + "/api/sales") //nolint:gosec // our own edge
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK && response.Header.Get("Headgate-Cache") == "HIT" && response.Header.Get("Set-Cookie") == ""
	})
}

// isWell wants all members alive, leaders, an agreed ring and a good audit.
func (c *localCluster) isWell(interceptors, shards int) {
	c.t.Helper()
	var v clusterView
	waitFor(c.t, patience, "everything is well", func() bool { v = c.status(); return v.Well })
	for _, m := range v.State.Members {
		if m.State != "running" || m.PID == 0 || m.Version == "" || m.Version == "?" || m.Cut {
			c.t.Errorf("%+v", m)
		}
	}
	if len(v.Ring.Members) != interceptors || len(v.Shards) != shards || v.Audit != "holds" {
		c.t.Errorf("%d interceptors in the ring, shards %+v, audit %s", len(v.Ring.Members), v.Shards, v.Audit)
	}
	for _, s := range v.Shards {
		if s.Leader == "" || s.Voters != 3 {
			c.t.Errorf("shard %+v", s)
		}
	}
}

// killAndStart: a member that dies stays dead, and status says so, until it is started.
func (c *localCluster) killAndStart(name string) {
	c.t.Helper()
	c.must("kill", name)
	v := c.status()
	i := slices.IndexFunc(v.State.Members, func(m clusterMember) bool { return m.Name == name })
	if v.Well || v.State.Members[i].State != "dead" || v.State.Members[i].PID != 0 {
		c.t.Errorf("after a kill: well %t, %+v", v.Well, v.State.Members[i])
	}
	for path, want := range map[string]int{"/members/" + name + "/pause": 409, "/members/nobody/kill": 404, "/members/" + name + "/dance": 409} {
		var refusal struct {
			Error string `json:"error"`
		}
		if status := c.socket(http.MethodPost, path, &refusal); status != want || refusal.Error == "" {
			c.t.Errorf("%s: %d %q, want %d", path, status, refusal.Error, want)
		}
	}
	c.must("start", name)
	c.isWell(3, 2)
}

// cutAndHeal cuts both consumers off: orders are taken and wait, until one is healed.
func (c *localCluster) cutAndHeal() {
	c.t.Helper()
	bob := c.signIn("bob")
	c.must("cut", "consumer-1")
	c.must("cut", "consumer-2")
	if r := c.run("restart", "consumer-1"); r.Code != 1 || !strings.Contains(r.Stderr, "heal it first") {
		c.t.Errorf("restarting what is cut off: exit code %d, %q", r.Code, r.Stderr)
	}
	if !c.cuts() {
		c.t.Error("nftables has no table of this cluster")
	}
	order := c.buy(bob, "1")
	if got := c.order(bob, order, "3s"); got != "queued" {
		c.t.Errorf("bob's order is %q while both consumers are cut off, want queued", got)
	}
	c.must("heal", "consumer-1")
	c.must("heal", "consumer-2")
	waitFor(c.t, patience, "bob's order is in the ledger", func() bool { return c.order(bob, order, "2s") == "unpaid" })
}

// nothingLeft wants no process and no table of the cluster.
func (c *localCluster) nothingLeft() {
	c.t.Helper()
	nobodyWorksBelow(c.t, c.folder)
	if c.cuts() {
		c.t.Error("nftables still cuts a member off")
	}
}
