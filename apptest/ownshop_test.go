package apptest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
	"headgate.example/apptest/voters"
)

const (
	ownTokenSecret  = "what-signs-the-tokens-of-a-shop-of-its-own"
	ownTicketSecret = "what-signs-the-tickets-of-a-shop-of-its-own"
)

// ownShop is the example in deploy/examples/ownshop behind an edge and a counter: without our backend,
// queue, consumer and ledger.
type ownShop struct {
	t             *testing.T
	path, journal string // the program and its file
	address, edge string // host:port
	admin, resp   string
	counterConfig string
	counterAdmin  string
	env           []string

	shop, counter, interceptor *programs.Process
	sales                      int
}

// startOwnShop starts the three programs; edit changes the edge's config, unless it is nil.
func startOwnShop(t *testing.T, edit func(*programs.Config)) *ownShop {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder, ports := t.TempDir(), programs.FreePorts(t, 5)
	o := &ownShop{t: t, path: filepath.Join(folder, "ownshop"), journal: filepath.Join(folder, "orders.jsonl"),
		edge: ports[0], address: ports[1], admin: ports[2], resp: ports[3], counterAdmin: ports[4],
		counterConfig: filepath.Join(folder, "counter.yaml"), env: []string{
			"HEADGATE_TOKEN_SECRET=" + ownTokenSecret, "HEADGATE_TICKET_SECRET=" + ownTicketSecret, "HEADGATE_HOP_SECRET=what-signs-the-hops-of-a-shop-of-its-own",
			"HEADGATE_COUNTER_CLIENT_PASSWORD=" + programs.ClientPassword, "HEADGATE_COUNTER_OPERATOR_PASSWORD=" + programs.OperatorPassword,
		}}
	example := filepath.Join(root, "deploy", "examples", "ownshop")
	programs.MustRun(t, "go", "build", "-C", example, "-o", o.path, ".")

	c := programs.ReadConfig(t, filepath.Join(root, "deploy", "config", "counter.yaml"))
	c.Set("listen", o.resp)
	c.Set("service.admin", o.counterAdmin)
	c.Set("data_dir", filepath.Join(folder, "counter"))
	c.Write(o.counterConfig)
	o.startCounter()
	o.startShop()

	c = programs.ReadConfig(t, filepath.Join(example, "interceptor.yaml"))
	for old, new := range map[string]string{"127.0.0.1:8080": o.edge, "127.0.0.1:8090": o.address, "127.0.0.1:8181": o.admin, "127.0.0.1:7380": o.resp} {
		c.Replace(old, new)
	}
	if edit != nil {
		edit(c)
	}
	config := filepath.Join(folder, "interceptor.yaml")
	c.Write(config)
	o.interceptor = programs.Start(t, programs.Spec{Name: "interceptor", Path: bin.Path("interceptor"), Args: []string{"--config", config},
		Env: o.env, Ready: "http://" + o.admin + "/readyz"})
	return o
}

func (o *ownShop) startCounter() {
	o.t.Helper()
	o.counter = programs.Start(o.t, programs.Spec{Name: "counter", Path: bin.Path("counter"), Args: []string{"--config", o.counterConfig},
		Env: o.env, Ready: "http://" + o.counterAdmin + "/readyz"})
}

func (o *ownShop) startShop() {
	o.t.Helper()
	o.shop = programs.Start(o.t, programs.Spec{Name: "ownshop", Path: o.path,
		Args: []string{"--listen", o.address, "--counter", o.resp, "--journal", o.journal}, Env: o.env, Ready: "http://" + o.address + "/healthz"})
}

// operator asks the counter as its operator.
func (o *ownShop) operator(args ...string) any {
	o.t.Helper()
	c, err := voters.Dial(o.resp, 5*time.Second)
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing is on its way
	if _, err := c.Do(5*time.Second, "AUTH", programs.OperatorPassword); err != nil {
		o.t.Fatal(err)
	}
	reply, err := c.Do(5*time.Second, args...)
	if err != nil {
		o.t.Fatalf("%v: %v", args, err)
	}
	return reply
}

// figure is one figure of a sale at the counter.
func (o *ownShop) figure(sale, name string) string {
	o.t.Helper()
	fields, _ := o.operator("SALE.INFO", sale).([]any)
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == name {
			return fmt.Sprint(fields[i+1])
		}
	}
	o.t.Fatalf("SALE.INFO has no %s: %v", name, fields)
	return ""
}

func (o *ownShop) openSale(sale string, stock int, opensAt time.Time) {
	o.t.Helper()
	o.operator("SALE.OPEN", fmt.Sprintf(`{"id":%q,"revision":1,"stock":%d,"limit":1,"opens_at":%d,"hold_for_ms":30000,"retain_for_ms":86400000,`+
		`"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}}`, sale, stock, opensAt.UnixMilli()))
	o.operator("SALE.RESUME", sale, "2")
}

func hs256(text, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// token signs a buyer in, as the shop would.
func ownToken(user string) string {
	encode := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	return hs256(encode([]byte(`{"alg":"HS256","typ":"JWT","kid":"k1"}`))+"."+
		encode(fmt.Appendf(nil, `{"sub":%q,"iat":%d,"exp":%d}`, user, now, now+3600)), ownTokenSecret)
}

// reply is what a buyer got.
type reply struct {
	status int
	header http.Header
	text   string
}

func (r reply) code() string { return r.header.Get("Headgate-Code") }

// press presses the button of a sale; form may be "".
func (o *ownShop) press(sale, user, form string, headers ...string) reply {
	o.t.Helper()
	return o.post("http://"+o.edge+"/shop/"+sale+"/buy", form, append(headers, "Authorization", "Bearer "+ownToken(user))...)
}

func (o *ownShop) post(url, form string, headers ...string) reply {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, url, strings.NewReader(form))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return reply{status: response.StatusCode, header: response.Header, text: string(text)}
}

// buys checks that an order stands, and gives its id.
func (o *ownShop) buys(r reply) string {
	o.t.Helper()
	id := r.header.Get("Headgate-Order-Id")
	if r.status != http.StatusOK || id == "" || r.text != "thank you, order "+id+"\n" {
		o.t.Fatalf("no order came of it: %d %s %v", r.status, r.text, r.header)
	}
	return id
}

func (o *ownShop) is(r reply, status int, code string) {
	o.t.Helper()
	if r.status != status || r.code() != code {
		o.t.Errorf("got %d %q, want %d %q: %s", r.status, r.code(), status, code, r.text)
	}
}

// states are those that an order went through, as the shop wrote them down.
func (o *ownShop) states(id string) (list []string) {
	o.t.Helper()
	text, err := os.ReadFile(o.journal)
	if err != nil {
		o.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var order struct{ ID, State string }
		if err := json.Unmarshal(line, &order); err != nil {
			o.t.Fatal(err)
		}
		if order.ID == id {
			list = append(list, order.State)
		}
	}
	return list
}

func (o *ownShop) cancel(id, user string) {
	o.t.Helper()
	r := o.post("http://"+o.edge+"/shop/orders/"+id+"/cancel", "", "Authorization", "Bearer "+ownToken(user))
	if r.status != http.StatusOK || r.text != "cancelled\n" {
		o.t.Fatalf("cancelling: %d %s", r.status, r.text)
	}
}

// TestOwnShop runs the example of a shop of one's own: buy, repeat, refuse, free a unit, and what may
// die in between.
func TestOwnShop(t *testing.T) {
	t.Parallel()
	o := startOwnShop(t, nil)
	o.openSale("kettle", 2, time.Now().Add(-time.Minute))
	waitFor(t, patience, "the edge knows of the sale", func() bool { return o.press("kettle", "u0", "card=declined").status == http.StatusPaymentRequired })
	if held, left := o.figure("kettle", "held"), o.figure("kettle", "available"); held != "0" || left != "2" {
		t.Errorf("after a refusal %s held, %s available", held, left)
	}

	first := o.buys(o.press("kettle", "u1", "qty=1&card=good"))
	if got := o.figure("kettle", "confirmed"); got != "1" {
		t.Errorf("%s confirmed", got)
	}
	again := o.press("kettle", "u1", "qty=1&card=good")
	if o.is(again, http.StatusConflict, "already_ordered"); !strings.Contains(again.text, first) {
		t.Errorf("the order's id is not told: %s", again.text)
	}
	o.repeats(first, "u1")

	second := o.buys(o.press("kettle", "u2", ""))
	o.is(o.press("kettle", "u3", ""), http.StatusConflict, "sold_out")

	// A buyer changes his mind: the unit is sold again, and the edge sees it by itself.
	o.cancel(first, "u1")
	freed := time.Now()
	third := o.buysOnceItIsBack("kettle", "u3")
	t.Logf("a cancelled unit was bought %s later", time.Since(freed).Round(time.Millisecond))
	if got := o.states(first); !slices.Equal(got, []string{"taken", "final", "freeing", "freed"}) {
		t.Errorf("the cancelled order was %v", got)
	}
	o.counterAwayAtCancel(third)
	o.shopDies(second)
	for _, p := range []*programs.Process{o.interceptor, o.shop, o.counter} {
		if code := p.Stop(40 * time.Second); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.Log())
		}
	}
}

// repeats sends the shop an order that it has taken once more, with the ticket that the edge would
// sign, and others that nobody signed.
func (o *ownShop) repeats(id, user string) {
	o.t.Helper()
	payload := fmt.Appendf(nil, `{"order":%q,"sale":"kettle","user":%q,"quantity":1,"slot":1,"key":"","exp":1}`, id, user)
	ticket := hs256("v1.t1."+base64.RawURLEncoding.EncodeToString(payload), ownTicketSecret)
	for range 2 {
		if r := o.post("http://"+o.address+"/shop/kettle/buy", "", "Headgate-Ticket", ticket); r.status != http.StatusOK {
			o.t.Errorf("a repeated id: %d %s", r.status, r.text)
		}
	}
	if got := o.states(id); !slices.Equal(got, []string{"taken", "final"}) {
		o.t.Errorf("a repeated order was taken again: %v", got)
	}
	for _, wrong := range []string{"", ticket[:len(ticket)-2] + "xx", strings.Replace(ticket, "v1.t1", "v1.t2", 1)} {
		if r := o.post("http://"+o.address+"/shop/kettle/buy", "", "Headgate-Ticket", wrong); r.status != http.StatusForbidden || r.header.Get("Headgate-Outcome") != "refused" {
			o.t.Errorf("ticket %q: %d %s", wrong, r.status, r.text)
		}
	}
	if r := o.post("http://"+o.address+"/shop/pan/buy", "", "Headgate-Ticket", ticket); r.status != http.StatusForbidden {
		o.t.Errorf("another sale's ticket: %d %s", r.status, r.text)
	}
}

// buysOnceItIsBack presses until somebody whose name begins with user gets a unit.
func (o *ownShop) buysOnceItIsBack(sale, user string) (id string) {
	o.t.Helper()
	n := 0
	waitFor(o.t, patience, "a unit is back", func() bool {
		n++
		r := o.press(sale, fmt.Sprintf("%s-%d", user, n), "")
		if r.status == http.StatusOK {
			id = o.buys(r)
			o.sales = n
			return true
		}
		if r.code() != "sold_out" && r.code() != "unavailable" {
			o.t.Fatalf("%d %s", r.status, r.text)
		}
		return false
	})
	return id
}

// counterAwayAtCancel cancels an order while the counter is away: it hears of it when it is back.
func (o *ownShop) counterAwayAtCancel(id string) {
	o.t.Helper()
	o.counter.Kill()
	o.cancel(id, fmt.Sprintf("u3-%d", o.sales))
	if got := o.states(id); got[len(got)-1] != "freeing" {
		o.t.Errorf("with the counter away the order is %v", got)
	}
	waitFor(o.t, patience, "the edge says that it does not know", func() bool { return o.press("kettle", "u4", "").code() == "unavailable" })
	o.startCounter()
	o.buysOnceItIsBack("kettle", "u5")
}

// shopDies kills the shop. What it took is there when it is started again.
func (o *ownShop) shopDies(id string) {
	o.t.Helper()
	o.openSale("pan", 100, time.Now().Add(-time.Minute))
	o.buysOnceItIsBack("pan", "u6")
	o.shop.Kill()
	r := o.press("pan", "u7", "")
	if o.is(r, http.StatusServiceUnavailable, "unavailable"); r.text != "<p>The shop will be back in a moment.</p>" || r.header.Get("Retry-After") == "" {
		o.t.Errorf("the fallback is not answered: %s %v", r.text, r.header)
	}
	if held := o.figure("pan", "held"); held != "0" {
		o.t.Errorf("%s units are held for orders that never left", held)
	}
	o.startShop()
	o.buysOnceItIsBack("pan", "u8")
	o.cancel(id, "u2")
	if got := o.states(id); !slices.Equal(got, []string{"taken", "final", "freeing", "freed"}) {
		o.t.Errorf("after a restart the order is %v", got)
	}
}
