//go:build linux

package apptest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// localCluster is `bin/cluster` on a folder and ports of its own, as somebody at a terminal has it.
type localCluster struct {
	t      *testing.T
	folder string
	source string
	shift  string
	bin    string // folder of the programs; "": those under test
}

// The shifts that tests choose from keep all ports below those that the system gives to clients, and above those that
// apptest/ports gives to other programs.
const lowestShift, highestShift = 21_700, 24_300

// newLocalCluster copies the config files; shorten is the interceptors' drain_grace, which the samples have
// long enough for every balancer.
func newLocalCluster(t *testing.T, drainGrace string) *localCluster {
	t.Helper()
	for _, service := range []string{"HEADGATE_TEST_AMQP_URL", "HEADGATE_TEST_MYSQL_DSN", "HEADGATE_TEST_NGINX"} {
		need(t, service) // they are installed, then
	}
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "headgate-cluster-") // a test's own folder may have too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	c := &localCluster{t: t, folder: filepath.Join(folder, "c"), source: filepath.Join(folder, "local"),
		shift: strconv.Itoa(lowestShift + rand.IntN(highestShift-lowestShift))}
	if err := os.CopyFS(c.source, os.DirFS(filepath.Join(root, "deploy", "local"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.keepLogs()
		}
		c.run("down", "--wipe")
		nobodyWorksBelow(t, folder)
		_ = os.RemoveAll(folder)
	})
	if drainGrace != "" {
		c.edit("interceptor-*.yaml", "drain_grace: 2500ms", "drain_grace: "+drainGrace)
	}
	return c
}

// edit replaces text in config files, before the first up.
func (c *localCluster) edit(pattern, old, new string) {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.source, pattern))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), old) {
			c.t.Fatalf("%s: no %q (%v)", file, old, err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, new)), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *localCluster) run(args ...string) programs.Result {
	c.t.Helper()
	return programs.Run(c.t, bin.Path("cluster"), append(args, "--folder", c.folder)...)
}

func (c *localCluster) must(args ...string) string {
	c.t.Helper()
	r := c.run(args...)
	if r.Code != 0 {
		c.t.Fatalf("cluster %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (c *localCluster) tryUp() programs.Result {
	c.t.Helper()
	return c.run("up", "--no-install", "--source", c.source, "--shift", c.shift, "--with", strconv.Itoa(os.Getpid()), "--bin", cmp.Or(c.bin, string(bin)))
}

// up starts it, on other ports when some are taken.
func (c *localCluster) up() {
	c.t.Helper()
	const tries = 5
	for range tries {
		r := c.tryUp()
		if r.Code == 0 {
			c.t.Log(r.Stdout)
			return
		}
		if !strings.Contains(r.Stderr, "is taken by") {
			c.t.Fatalf("cluster up: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		c.t.Log(r.Stderr)
		c.shift = strconv.Itoa(lowestShift + rand.IntN(highestShift-lowestShift))
		if err := os.RemoveAll(filepath.Join(c.folder, "config")); err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Fatal("no free ports")
}

// clusterState is what the control socket tells, as far as tests look at it.
type clusterState struct {
	Version        int             `json:"version"`
	Edge           string          `json:"edge"`
	OperatorConfig string          `json:"operator_config"`
	EnvFile        string          `json:"env_file"`
	Logs           string          `json:"logs"`
	Supervisor     int             `json:"supervisor"`
	Members        []clusterMember `json:"members"`
}

type clusterMember struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	PID      int     `json:"pid"`
	State    string  `json:"state"`
	Cut      bool    `json:"cut"`
	Address  string  `json:"address"`
	Admin    string  `json:"admin"`
	Version  string  `json:"version"`
	CPU      float64 `json:"cpu_seconds"`
	Restarts int     `json:"restarts"`
	Note     string  `json:"note"`
}

type clusterView struct {
	Well   bool         `json:"well"`
	State  clusterState `json:"cluster"`
	Shards []struct {
		Name   string `json:"name"`
		Leader string `json:"leader"`
		Voters int    `json:"voters"`
		Away   int    `json:"away"`
	} `json:"shards"`
	Ring struct {
		Agreed  bool `json:"agreed"`
		Members []struct {
			Name  string  `json:"name"`
			Share float64 `json:"share"`
		} `json:"members"`
	} `json:"ring"`
	Audit string `json:"audit"`
}

// status is `cluster status --json`.
func (c *localCluster) status() (v clusterView) {
	c.t.Helper()
	r := c.run("status", "--json")
	programs.DecodeJSON(c.t, r.Stdout, &v)
	if v.Well != (r.Code == 0) {
		c.t.Errorf("status: exit code %d, and well is %t", r.Code, v.Well)
	}
	return v
}

// socket asks the control socket, as `headgate rehearse` does.
func (c *localCluster) socket(method, path string, into any) int {
	c.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(c.folder, "control.sock"))
	}}
	request, err := http.NewRequestWithContext(c.t.Context(), method, "http://cluster"+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	client := http.Client{Transport: transport, Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode
}

// operator runs `headgate ARGS...` on the cluster, as its announcement says.
func (c *localCluster) operator(args ...string) programs.Result {
	c.t.Helper()
	state := c.state()
	script := `set -a; . "$1"; export HEADGATE_CONFIG="$2"; shift 2; exec "$@"`
	return programs.Run(c.t, "/bin/sh", append([]string{"-c", script, "sh", state.EnvFile, state.OperatorConfig, bin.Path("headgate")}, args...)...)
}

func (c *localCluster) state() (s clusterState) {
	c.t.Helper()
	c.socket(http.MethodGet, "/cluster", &s)
	return s
}

func (c *localCluster) member(name string) clusterMember {
	c.t.Helper()
	for _, m := range c.state().Members {
		if m.Name == name {
			return m
		}
	}
	c.t.Fatalf("there is no member %s", name)
	return clusterMember{}
}

// signIn gives the token of a demo account.
func (c *localCluster) signIn(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.folder, "accounts.txt"))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] != name {
			continue
		}
		var session struct {
			Token string `json:"token"`
		}
		if status := post(c.t, c.state().Edge+"/api/login", "", map[string]string{"name": name, "password": fields[1]}, &session); status != http.StatusOK {
			c.t.Fatalf("signing in as %s: %d", name, status)
		}
		return session.Token
	}
	c.t.Fatalf("no account %s", name)
	return ""
}

// buy buys a unit through nginx, as soon as the edge that it comes to has heard that the sale is open: that is
// some 250 ms after it was opened, the one of a new cluster too.
func (c *localCluster) buy(token, sale string) (order string) {
	c.t.Helper()
	waitFor(c.t, patience, "the edge hears that the sale is open", func() bool {
		var taken struct {
			OrderID string `json:"order_id"`
			Code    string `json:"code"`
		}
		status := post(c.t, c.state().Edge+"/api/sales/"+sale+"/orders", token, map[string]int{"quantity": 1}, &taken)
		if status == http.StatusServiceUnavailable && taken.Code == "paused" {
			return false
		}
		if status != http.StatusAccepted || taken.OrderID == "" {
			c.t.Fatalf("buying: %d %s, order %q", status, taken.Code, taken.OrderID)
		}
		order = taken.OrderID
		return true
	})
	return order
}

// order is an order's state, after a wait such as "5s".
func (c *localCluster) order(token, id, wait string) string {
	c.t.Helper()
	var order struct {
		Status string `json:"status"`
	}
	request(c.t, http.MethodGet, c.state().Edge+"/api/orders/"+id+"?wait="+wait, token, nil, &order)
	return order.Status
}

func (c *localCluster) keepLogs() {
	kept := filepath.Join(os.TempDir(), "headgate-failed", c.t.Name())
	if err := errors.Join(os.RemoveAll(kept), os.CopyFS(kept, os.DirFS(filepath.Join(c.folder, "logs")))); err != nil {
		c.t.Logf("keeping the logs: %v", err)
		return
	}
	c.t.Logf("the cluster's logs are kept in %s", kept)
}

// nobodyWorksBelow wants that no process' working folder lies below another. A broker's children end a moment after it, by
// themselves: when they read that it is gone.
func nobodyWorksBelow(t *testing.T, folder string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience / 4); ; <-tick.C {
		left := worksBelow(folder)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still running: %v", left)
			return
		}
	}
}

// worksBelow lists the processes whose working folder lies below another.
func worksBelow(folder string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, folder+"/") {
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "comm"))
			found = append(found, strings.TrimSpace(string(name))+" "+filepath.Base(filepath.Dir(link)))
		}
	}
	return found
}

// cuts reports whether the table that cuts members off is there.
func (c *localCluster) cuts() bool {
	c.t.Helper()
	said, err := exec.Command(need(c.t, "HEADGATE_TEST_NFT"), "list", "tables").Output()
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Contains(string(said), fmt.Sprintf("headgate_%08x", crc32.ChecksumIEEE([]byte(c.folder))))
}
