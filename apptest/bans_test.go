package apptest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// withinASecond is how soon what an operator decides must hold at every edge, as a stopwatch shows it.
const withinASecond = time.Second

// edgeReply is what an edge answers.
type edgeReply struct {
	Status int
	Code   string `json:"code"`
	Token  string `json:"token"`
	User   struct {
		ID string `json:"id"`
	} `json:"user"`
}

func ask(t *testing.T, method, url, token, body string, headers ...string) (r edgeReply) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer response.Body.Close()
	_ = json.NewDecoder(response.Body).Decode(&r) // not everything is JSON
	r.Status = response.StatusCode
	return r
}

// cancels tells what an edge says to a write of a user; the order is nobody's.
func cancels(t *testing.T, edge *programs.Edge, token string) edgeReply {
	t.Helper()
	return ask(t, http.MethodPost, edge.URL+"/api/orders/1/cancel", token, "")
}

// bansRig is two edges that know nothing of each other, in front of one counter and backend. Behind a
// trusted proxy at 127.0.0.1, clients' addresses are what a test says.
type bansRig struct {
	t     *testing.T
	fleet *programs.Fleet
	edges []*programs.Edge
	watch *stopwatch
}

func newBansRig(t *testing.T) *bansRig {
	t.Helper()
	fleet := programs.NewFleet(t, bin, programs.FleetSpec{Edit: func(program string, c *programs.Config) {
		if program == "interceptor" {
			c.Set("trusted_proxies", []any{"127.0.0.0/8"})
			c.Set("strikes.too_soon", map[string]any{"mode": "enforce", "count": 5, "window": "1m", "ban_for": "1h"})
			c.Set("limits.user_bucket", map[string]any{"mode": "off"}) // the tests ask again and again
		}
	}})
	return &bansRig{t: t, fleet: fleet, edges: []*programs.Edge{fleet.FirstEdge(), fleet.AddEdge("edge-2")}, watch: startStopwatch(t)}
}

// must runs an operator's command.
func (r *bansRig) must(args ...string) string {
	r.t.Helper()
	result := r.fleet.CLI(args...)
	if result.Code != 0 {
		r.t.Fatalf("headgate %v: exit code %d\n%s%s", args, result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// everywhere waits until each edge says what is wanted, which must take a second at most, and tells how long it took.
func (r *bansRig) everywhere(what string, holds func(*programs.Edge) bool) {
	r.t.Helper()
	began, at := time.Now(), r.watch.now()
	for _, edge := range r.edges {
		waitFor(r.t, patience, what+" at "+edge.URL, func() bool { return holds(edge) })
	}
	if took := r.watch.now() - at; took > withinASecond {
		r.t.Errorf("%s at every edge only after %s (by the wall clock %s)", what, took, time.Since(began))
	}
	r.t.Logf("%s at every edge after %s", what, time.Since(began).Round(time.Millisecond))
}

func (r *bansRig) signUp(name string) edgeReply {
	r.t.Helper()
	a := ask(r.t, http.MethodPost, r.edges[0].URL+"/api/register", "", `{"name":"`+name+`","password":"correct horse"}`)
	if a.Status != http.StatusCreated {
		r.t.Fatalf("registering: %+v", a)
	}
	return a
}

// A ban at the CLI holds at every edge within a second, survives kill -9 of an edge and of the counter,
// and is gone everywhere within a second of being taken back.
func TestBansHoldEverywhere(t *testing.T) {
	r := newBansRig(t)
	buyer, other := r.signUp("banned"), r.signUp("other")
	banned := func(edge *programs.Edge) bool { return cancels(t, edge, buyer.Token).Code == "blacklisted" }
	free := func(edge *programs.Edge) bool { return !banned(edge) }
	from := func(edge *programs.Edge, address string) edgeReply {
		return ask(t, http.MethodGet, edge.URL+"/api/sales", "", "", "X-Forwarded-For", address)
	}

	r.must("ban", buyer.User.ID, "--reason", "resells", "--for", "1h")
	r.everywhere("the ban holds", banned)
	r.must("ban", "203.0.113.0/24", "--reason", "a farm")
	r.must("ban", "2001:db8:1::/48")
	r.everywhere("the networks are banned", func(edge *programs.Edge) bool {
		return from(edge, "203.0.113.77").Status == http.StatusForbidden && from(edge, "2001:db8:1:2::3").Status == http.StatusForbidden
	})
	for _, edge := range r.edges {
		if a := cancels(t, edge, other.Token); a.Code == "blacklisted" {
			t.Errorf("another user: %+v", a)
		}
		for _, address := range []string{"203.0.114.1", "2001:db8:2::1"} {
			if a := from(edge, address); a.Status != http.StatusOK {
				t.Errorf("%s: %+v", address, a)
			}
		}
	}
	list := r.must("bans")
	for _, want := range []string{buyer.User.ID, "resells", "203.0.113.0/24", "a farm", "2001:db8:1::/48", "for good"} {
		if !strings.Contains(list, want) {
			t.Errorf("bans lack %q:\n%s", want, list)
		}
	}
	why := r.must("edge", "user", buyer.User.ID, "--admin", r.edges[0].Admin, "--admin", r.edges[1].Admin)
	if strings.Count(why, "BANNED until") != 2 || strings.Count(why, "resells") != 2 || !strings.Contains(why, "blacklisted") {
		t.Errorf("why was he refused:\n%s", why)
	}

	r.edges[0].Kill()
	r.fleet.Counter.Kill()
	if a := cancels(t, r.edges[1], buyer.Token); a.Code != "blacklisted" {
		t.Errorf("with the counter away: %+v", a)
	}
	r.fleet.StartCounter(0)
	r.edges[0].Start()
	for _, edge := range r.edges {
		if !banned(edge) || from(edge, "203.0.113.1").Status != http.StatusForbidden {
			t.Errorf("the bans were lost at %s", edge.URL)
		}
	}
	r.must("unban", buyer.User.ID)
	r.everywhere("the ban is taken back", free)
	r.must("unban", "203.0.113.0/24")
	r.everywhere("the network is let in", func(edge *programs.Edge) bool { return from(edge, "203.0.113.77").Status == http.StatusOK })
	if result := r.fleet.CLI("ban", "operator"); result.Code != 1 || !strings.Contains(result.Stderr, "yourself") {
		t.Errorf("an operator bans himself: exit code %d, %s", result.Code, result.Stderr)
	}
	r.fleet.Stop()
}

// Who presses on when told to wait is banned by the node that counts, with a reason that can be asked
// for, until an operator takes it back.
func TestStrikesBan(t *testing.T) {
	r := newBansRig(t)
	buyer := r.signUp("eager")
	r.must("sale", "create", "s", "--stock", "10", "--limit", "1", "--price", "100", "--open")
	press := func(edge *programs.Edge) edgeReply {
		return ask(t, http.MethodPost, edge.URL+"/api/sales/s/orders", buyer.Token, "")
	}
	waitFor(t, patience, "the edge bans", func() bool { return press(r.edges[0]).Code == "blacklisted" })
	if a := press(r.edges[1]); a.Code == "blacklisted" {
		t.Errorf("a node bans for what it has not seen: %+v", a)
	}
	list := r.must("edge", "bans", "--admin", r.edges[0].Admin)
	if !strings.Contains(list, buyer.User.ID) || !strings.Contains(list, "too_soon") || !strings.Contains(list, "after 5 strikes") {
		t.Errorf("the node's bans:\n%s", list)
	}
	why := r.must("edge", "refusals", "--user", buyer.User.ID, "--admin", r.edges[0].Admin)
	if !strings.Contains(why, "too_soon") || !strings.Contains(why, "blacklisted") {
		t.Errorf("the node's refusals:\n%s", why)
	}
	if list := r.must("bans"); strings.Contains(list, buyer.User.ID) {
		t.Errorf("a node's own ban is listed as an operator's:\n%s", list)
	}
	r.must("unban", buyer.User.ID)
	r.everywhere("the node's ban is taken back", func(edge *programs.Edge) bool { return cancels(t, edge, buyer.Token).Code != "blacklisted" })
	if list := r.must("edge", "bans", "--admin", r.edges[0].Admin); strings.Contains(list, buyer.User.ID) {
		t.Errorf("the node's bans afterwards:\n%s", list)
	}
	r.fleet.Stop()
}

// Tokens of before a sign-out everywhere, of before a change of password, or of a user whom an operator
// signed out, stop at every edge within a second; what is signed in afterwards holds.
func TestOldTokensStopEverywhere(t *testing.T) {
	r := newBansRig(t)
	reads := func(edge *programs.Edge, token string) int {
		return ask(t, http.MethodGet, edge.URL+"/api/orders", token, "").Status
	}
	signIn := func(password string) string {
		t.Helper()
		a := ask(t, http.MethodPost, r.edges[1].URL+"/api/login", "", `{"name":"alice","password":"`+password+`"}`)
		if a.Status != http.StatusOK {
			t.Fatalf("signing in: %+v", a)
		}
		return a.Token
	}
	check := func(what, old, fresh string) {
		t.Helper()
		r.everywhere(what+": the old token is refused", func(edge *programs.Edge) bool { return reads(edge, old) == http.StatusUnauthorized })
		for _, edge := range r.edges {
			if status := reads(edge, fresh); status != http.StatusOK {
				t.Errorf("%s: the new token: status %d", what, status)
			}
		}
	}
	alice := r.signUp("alice")
	first := alice.Token
	for _, edge := range r.edges {
		if status := reads(edge, first); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	if a := ask(t, http.MethodPost, r.edges[0].URL+"/api/logout/everywhere", first, ""); a.Status != http.StatusNoContent {
		t.Fatalf("signing out everywhere: %+v", a)
	}
	second := signIn("correct horse")
	check("signed out", first, second)

	a := ask(t, http.MethodPost, r.edges[1].URL+"/api/password", second, `{"old_password":"correct horse","new_password":"battery staple"}`)
	if a.Status != http.StatusOK {
		t.Fatalf("changing the password: %+v", a)
	}
	check("password changed", second, a.Token)
	if b := ask(t, http.MethodPost, r.edges[0].URL+"/api/login", "", `{"name":"alice","password":"correct horse"}`); b.Status != http.StatusUnauthorized {
		t.Errorf("the old password: %+v", b)
	}

	r.must("signout", alice.User.ID)
	check("signed out by an operator", a.Token, signIn("battery staple"))
	r.fleet.Stop()
}
