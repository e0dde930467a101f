package apptest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// What the budgets of TestReloadUnderLoad hold; they refill by less than one event while it runs.
const (
	reloadUsers = 4
	reloadCalls = 40 // of each user
)

// reloadRig is a real edge in front of a real backend, whose config file a test changes.
type reloadRig struct {
	t      *testing.T
	edge   *programs.Edge
	config *programs.Config // as it began
	taken  int
}

func newReloadRig(t *testing.T) *reloadRig {
	t.Helper()
	fleet := programs.NewFleet(t, bin, programs.FleetSpec{Edit: func(program string, c *programs.Config) {
		if program == "interceptor" {
			c.Set("limits.user_bucket", map[string]any{"rate": 0.001, "burst": reloadCalls})
		}
	}})
	r := &reloadRig{t: t, edge: fleet.FirstEdge()}
	r.config = programs.ReadConfig(t, r.edge.ConfigFile())
	return r
}

// page gives a page of the edge's admin port.
func (r *reloadRig) page(path string) string {
	r.t.Helper()
	response, err := http.Get("http://" + r.edge.Admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *reloadRig) counted(result string) int {
	r.t.Helper()
	const name = `headgate_config_reloads_total{program="interceptor",result="%s"} %%d`
	var n int
	for line := range strings.Lines(r.page("/metrics")) {
		if _, err := fmt.Sscanf(line, fmt.Sprintf(name, result), &n); err == nil {
			return n
		}
	}
	r.t.Fatalf("no reloads in the metrics")
	return 0
}

var configLine = regexp.MustCompile(`# interceptor ([0-9a-f]{12}) since`)

func (r *reloadRig) hash() string {
	r.t.Helper()
	found := configLine.FindStringSubmatch(r.page("/config"))
	if found == nil {
		r.t.Fatalf("no hash on /config: %s", r.page("/config"))
	}
	return found[1]
}

// take changes the file and waits until the edge has taken it, asked by a signal or by itself.
func (r *reloadRig) take(ask bool) {
	r.t.Helper()
	r.config.Write(r.edge.ConfigFile())
	if ask {
		if err := r.edge.Hangup(); err != nil {
			r.t.Fatal(err)
		}
	}
	r.taken++
	waitFor(r.t, patience, "the changed config is taken", func() bool { return r.counted("taken") >= r.taken })
}

// refuse writes a file that must not be taken, and checks that the refusal, with its line and field, is
// in the log, in the metrics and on the admin port, and that what ran runs on.
func (r *reloadRig) refuse(text, line, field, reason string) {
	r.t.Helper()
	before, refused := r.hash(), r.counted("refused")
	file := r.edge.ConfigFile()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := r.edge.Hangup(); err != nil {
		r.t.Fatal(err)
	}
	waitFor(r.t, patience, "the refusal is counted", func() bool { return r.counted("refused") > refused })
	says := file + ":" + line + ": " + field + ": " + reason
	for _, path := range []string{"/config", "/readyz?verbose"} {
		if page := r.page(path); !strings.Contains(page, says) {
			r.t.Errorf("%s does not say %q:\n%s", path, says, page)
		}
	}
	logged := fmt.Sprintf(`file=%s line=%s field=%s reason="%s`, file, line, field, reason)
	if log := r.edge.Log(); !strings.Contains(log, logged) {
		r.t.Errorf("the log does not say %s:\n%s", logged, log)
	}
	if after := r.hash(); after != before {
		r.t.Errorf("the config changed from %s to %s", before, after)
	}
	if metrics := r.page("/metrics"); !strings.Contains(metrics, `headgate_config_last_reload_successful{program="interceptor"} 0`) {
		r.t.Error("the metrics do not tell of it")
	}
}

// load asks without pause until stopped: pages that must always be served, and calls of users, of which
// each user's budget admits so many.
type load struct {
	done   atomic.Bool
	group  sync.WaitGroup
	pages  atomic.Int64
	calls  [reloadUsers]atomic.Int64
	failed atomic.Pointer[string]
}

func (l *load) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.failed.CompareAndSwap(nil, &text)
	l.done.Store(true)
}

func (l *load) run(do func(i int)) {
	l.group.Go(func() {
		for i := 0; !l.done.Load(); i++ {
			do(i)
		}
	})
}

func (l *load) get(client *http.Client, url, token string) (status int, code string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		l.fail("%v", err)
		return 0, ""
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		l.fail("%s: %v", url, err)
		return 0, ""
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		l.fail("%s: %v", url, err)
	}
	return response.StatusCode, response.Header.Get("Headgate-Code")
}

func startLoad(r *reloadRig, tokens []string) *load {
	l := &load{}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	r.t.Cleanup(client.CloseIdleConnections)
	l.run(func(int) {
		if status, code := l.get(client, r.edge.URL+"/api/sales", ""); status != http.StatusOK {
			l.fail("/api/sales: %d %s", status, code)
		}
		l.pages.Add(1)
	})
	l.run(func(i int) {
		switch status, code := l.get(client, r.edge.URL+"/api/orders", tokens[i%reloadUsers]); {
		case status == http.StatusOK:
			l.calls[i%reloadUsers].Add(1)
		case status != http.StatusTooManyRequests:
			l.fail("/api/orders: %d %s", status, code)
		}
	})
	return l
}

// A real edge takes its config 100 times under load, by signal and by itself: no request fails, and each
// user is admitted exactly as often as his budget held at first. Then files that are wrong change
// nothing, and say file, line and field.
func TestReloadUnderLoad(t *testing.T) {
	const reloads, byItself = 100, 3
	r := newReloadRig(t)
	tokens := make([]string, reloadUsers)
	for i := range tokens {
		tokens[i] = ask(t, http.MethodPost, r.edge.URL+"/api/register", "", fmt.Sprintf(`{"name":"buyer%d","password":"correct horse"}`, i)).Token
	}
	first := r.hash()
	l := startLoad(r, tokens)
	for n := range reloads {
		served := l.pages.Load()
		r.config.Set("limits.node_bucket", map[string]any{"mode": []string{"enforce", "shadow"}[n%2], "rate": 100_000 + n, "burst": 100_000})
		r.config.Set("limits.address_bucket.mode", []string{"off", "shadow"}[n%2])
		r.config.Set("poll_interval", []string{"250ms", "200ms"}[n%2])
		r.config.Set("trusted_proxies", [][]any{{}, {"10.0.0.0/8"}}[n%2])
		r.take(n >= byItself)
		waitFor(t, patience, "requests are served meanwhile", func() bool { return l.done.Load() || l.pages.Load() > served })
	}
	spent := func() bool {
		for i := range l.calls {
			if l.calls[i].Load() < reloadCalls {
				return false
			}
		}
		return true
	}
	waitFor(t, patience, "all budgets are spent", func() bool { return l.done.Load() || spent() })
	if r.hash() == first {
		t.Error("the hash does not tell the configs apart")
	}

	good, err := os.ReadFile(r.edge.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(string(good), "\n")
	r.refuse(string(good)+"lissten: x\n", fmt.Sprint(lines+1), "lissten", "unknown key; did you mean")
	r.refuse(strings.Replace(string(good), "mode: shadow", "mode: shade", 1), fmt.Sprint(lineOf(string(good), "mode: shadow")), "limits.address_bucket.mode", "must be off, shadow or enforce")
	listen := regexp.MustCompile(`(?m)^listen: .*$`)
	r.refuse(listen.ReplaceAllString(string(good), "listen: 127.0.0.1:1"), fmt.Sprint(lineOf(string(good), "\nlisten: ")), "listen", "cannot be changed while the program runs")
	if err := os.WriteFile(r.edge.ConfigFile(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, patience, "the file is again what runs", func() bool {
		return strings.Contains(r.page("/metrics"), `headgate_config_last_reload_successful{program="interceptor"} 1`)
	})
	if page := r.page("/config"); strings.Contains(page, "not taken") {
		t.Errorf("/config still tells of a refusal:\n%s", page)
	}

	l.done.Store(true)
	l.group.Wait()
	if why := l.failed.Load(); why != nil {
		t.Errorf("a request failed: %s\n%s", *why, r.edge.Log())
	}
	for i := range l.calls {
		if n := l.calls[i].Load(); n != reloadCalls {
			t.Errorf("user %d: %d calls were admitted, of a budget of %d", i, n, reloadCalls)
		}
	}
	t.Logf("%d reloads, %d of them found by the edge itself; %d pages served meanwhile", r.counted("taken"), byItself, l.pages.Load())
}

// lineOf is the line on which a text stands, counted from 1; a leading line break does not count.
func lineOf(text, part string) int {
	before, _, _ := strings.Cut(text, part)
	line := strings.Count(before, "\n") + 1
	if strings.HasPrefix(part, "\n") {
		line++
	}
	return line
}
