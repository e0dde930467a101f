package apptest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// TestFirstPurchase takes the steps of the README: start, sign in as alice with the password that was
// printed, buy, follow the order.
func TestFirstPurchase(t *testing.T) {
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	password := accounts(t, dev)["alice"]

	var session struct {
		Token string `json:"token"`
		User  struct {
			Name string `json:"name"`
		} `json:"user"`
	}
	status := post(t, dev.Edge+"/api/login", "", map[string]string{"name": "alice", "password": password}, &session)
	if status != http.StatusOK || session.Token == "" || session.User.Name != "alice" {
		t.Fatalf("login: %d, %+v", status, session)
	}
	var taken struct {
		OrderID string `json:"order_id"`
		Status  any    `json:"status"` // a refusal's is a number
		Code    string `json:"code"`
	}
	status = post(t, dev.Edge+"/api/sales/1/orders", session.Token, map[string]int{"quantity": 1}, &taken)
	if status != http.StatusAccepted || taken.Status != "queued" || taken.OrderID == "" {
		t.Fatalf("buying: %d, %+v", status, taken)
	}
	var order struct {
		Status string `json:"status"`
	}
	request(t, http.MethodGet, dev.Edge+"/api/orders/"+taken.OrderID+"?wait=10s", session.Token, nil, &order)
	if order.Status != "unpaid" {
		t.Errorf("the order is %q, want unpaid", order.Status)
	}

	// A second order of the same person is refused, with the id of the first.
	again := taken
	waitFor(t, patience, "the second press is refused for what it is", func() bool {
		again.Code = ""
		status = post(t, dev.Edge+"/api/sales/1/orders", session.Token, map[string]int{"quantity": 1}, &again)
		return again.Code != "too_soon"
	})
	if status != http.StatusConflict || again.Code != "already_ordered" || again.OrderID != taken.OrderID {
		t.Errorf("buying again: %d, %+v", status, again)
	}

	m := devMarket(t, dev)
	m.settled(t, "1")
	secondRun(t, dev)
	if orders := m.orders(t, "1"); len(orders) != 1 || orders[0].ID != taken.OrderID {
		t.Errorf("after a second run the ledger has %+v", orders)
	}
}

// secondRun stops the program and starts it again: it keeps its data and seeds nothing.
func secondRun(t *testing.T, dev *programs.Dev) {
	t.Helper()
	config, err := os.ReadFile(dev.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	before := accounts(t, dev)
	if code := dev.Stop(40 * time.Second); code != 0 {
		t.Errorf("exit code %d when asked to stop\n%s", code, dev.Log())
	}
	dev.Start()
	after := accounts(t, dev)
	for _, name := range []string{"alice", "bob", "admin"} {
		if before[name] == "" || before[name] != after[name] {
			t.Errorf("the password of %s changed from %q to %q", name, before[name], after[name])
		}
		waitFor(t, patience, "the password of "+name+" is printed at every start", func() bool { return strings.Contains(dev.Log(), after[name]) })
	}
	if text, err := os.ReadFile(dev.ConfigFile); err != nil || !bytes.Equal(text, config) {
		t.Errorf("the second run changed the config (%v)", err)
	}
	for _, name := range []string{"headgate.yaml", "accounts.txt"} {
		if stat, err := os.Stat(filepath.Join(dev.Data, name)); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", name, stat.Mode(), err)
		}
	}
}

// accounts reads data/accounts.txt.
func accounts(t *testing.T, dev *programs.Dev) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dev.Data, "accounts.txt"))
	if err != nil {
		t.Fatal(err)
	}
	passwords := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && !strings.HasPrefix(line, "#") {
			passwords[fields[0]] = fields[1]
		}
	}
	return passwords
}

func post(t *testing.T, url, token string, in, out any) int {
	t.Helper()
	return request(t, http.MethodPost, url, token, in, out)
}

func request(t *testing.T, method, url, token string, in, out any) int {
	t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatalf("%s %s: %d, %v: %.300q", method, url, response.StatusCode, err, text)
	}
	return response.StatusCode
}

// patience is for what must come, without a claim of how soon: the machine may be slow, or do much else.
const patience = time.Minute

// waitFor waits for a condition.
func waitFor(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

// TestRedisCLI asks the counter with redis-cli, as an operator does with the line that is printed.
func TestRedisCLI(t *testing.T) {
	redis := need(t, "HEADGATE_TEST_REDIS_CLI")
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	_, port, _ := strings.Cut(dev.RESP, ":")
	run := func(password string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), redis, append([]string{"-h", "127.0.0.1", "-p", port}, args...)...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	c := programs.ReadConfig(t, dev.ConfigFile)
	client, operator := c.Text("counter.client_password"), c.Text("counter.operator_password")
	for _, check := range []struct {
		password string
		args     []string
		want     string
	}{
		{client, []string{"PING"}, "PONG"},
		{client, []string{"ECHO", "hello"}, "hello"},
		{client, []string{"SALE.INFO", "1"}, "available\n1000"},
		{client, []string{"RESERVE", "1", "cli-user", "1", "key-1"}, "reserved"},
		{client, []string{"RESERVE", "1", "cli-user", "1", "key-1"}, "already"},
		{client, []string{"RESERVE", "nosuch", "cli-user", "1", ""}, "no_sale"},
		{client, []string{"RESERVE", "1", "cli-user", "many", ""}, "quantity"},
		{client, []string{"SALE.PAUSE", "1", "99"}, "NOPERM"},
		{operator, []string{"AUDIT", "1"}, "held\n1"},
		{"", []string{"SALE.INFO", "1"}, "NOAUTH"},
		{client, []string{"NOSUCH"}, "ERR"},
	} {
		if got := run(check.password, check.args...); !strings.Contains(got, check.want) {
			t.Errorf("redis-cli %v: got %q, want %q in it", check.args, got, check.want)
		}
	}
}
