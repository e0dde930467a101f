//go:build linux

package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/programs"
)

// previousEnv names the commit or tag whose programs run before the rolling restart; without it it is the
// last tag, and without a tag the same version.
const previousEnv = "HEADGATE_TEST_PREVIOUS"

// previous builds the programs of an earlier version, and gives their folder and its name.
func previous(t *testing.T) (folder, version string) {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	version = os.Getenv(previousEnv)
	if version == "" {
		tag, err := exec.Command("git", "-C", root, "describe", "--tags", "--abbrev=0").Output()
		if err != nil {
			t.Logf("no earlier version is named (%s) or tagged: every program is restarted as the version that it is", previousEnv)
			return string(bin), ""
		}
		version = strings.TrimSpace(string(tag))
	}
	source, folder := t.TempDir(), t.TempDir()
	programs.MustRun(t, "/bin/sh", "-c", `git -C "$1" archive "$2" | tar -x -C "$3"`, "sh", root, version, source)
	for program, path := range map[string]string{"interceptor": "interceptor", "counter": "counter", "backend": "backend", "consumer": "consumer"} {
		programs.MustRun(t, "/bin/sh", "-c", `cd "$1" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X headgate.example/lib/service.version=$2" -o "$3" "$4"`,
			"sh", source, "v0.0-"+version, filepath.Join(folder, program), "./"+path+"/cmd/"+program)
	}
	// The operator's tool is this version's: it reads this version's headgate.yaml.
	if err := os.Symlink(bin.Path("headgate"), filepath.Join(folder, "headgate")); err != nil {
		t.Fatal(err)
	}
	return folder, "v0.0-" + version
}

const (
	rollBuyers  = 20_000
	rollRate    = 120 // purchases begun a second
	rollWorkers = 64
	rollWithin  = 30 * time.Second // a purchase, with all its repetitions
)

// TestClusterRollsUnderLoad restarts every program in turn, from the previous version to this one, while people
// buy through nginx: what they are told meanwhile is 202, or 503 with Retry-After, and everybody gets his unit.
func TestClusterRollsUnderLoad(t *testing.T) {
	old, version := previous(t)
	c := newLocalCluster(t, "")
	c.bin = old
	c.up()
	if r := c.operator("sale", "create", "roll", "--title", "Roll", "--stock", strconv.Itoa(rollBuyers), "--price", "100", "--open"); r.Code != 0 {
		t.Fatalf("creating the sale: %s", r.Stderr)
	}
	tokens := filepath.Join(t.TempDir(), "users.csv")
	if r := c.operator("token", "--users", strconv.Itoa(rollBuyers), "--out", tokens); r.Code != 0 {
		t.Fatalf("tokens: %s", r.Stderr)
	}
	buyers, err := crowd.ReadBuyers(tokens)
	if err != nil {
		t.Fatal(err)
	}
	run := startRollingCrowd(t, c.state().Edge+"/api/sales/roll/orders", buyers)
	waitFor(t, patience, "people buy", func() bool { return run.count("202") > rollRate })
	for _, kind := range []string{"counter", "consumer", "backend", "interceptor"} {
		t.Log(c.must("roll", kind, "--from", string(bin)))
		before := run.count("202")
		waitFor(t, patience, "people buy on", func() bool { return run.count("202") > before+rollRate })
		seen := make(map[string]bool)
		for _, m := range c.state().Members {
			if slices.Contains([]string{"counter", "consumer", "backend", "interceptor"}, m.Kind) {
				seen[m.Version] = true
			}
		}
		if mixed := version != "" && kind != "interceptor"; (len(seen) > 1) != mixed {
			t.Errorf("after the restart of the %ss the versions are %v", kind, seen)
		}
	}
	run.stop()
	t.Logf("answers while every program restarted: %v; the longest purchase took %s, repetitions included", run.answers, run.longest.Round(time.Millisecond))
	for what := range run.answers {
		if what != "202" && !strings.HasPrefix(what, "503 ") {
			t.Errorf("%d times: %s", run.answers[what], what)
		}
	}
	if run.unserved > 0 {
		t.Errorf("%d buyers got no unit within %s", run.unserved, rollWithin)
	}
	r := c.operator("audit", "--sale", "roll", "--wait", "60s", "--json")
	var report struct {
		Sales []struct {
			Counter struct {
				Confirmed int `json:"confirmed"`
			} `json:"counter"`
		} `json:"sales"`
	}
	programs.DecodeJSON(t, r.Stdout, &report)
	if r.Code != 0 || len(report.Sales) != 1 || report.Sales[0].Counter.Confirmed != run.answers["202"] {
		t.Errorf("audit: exit code %d, %+v; %d buyers were told that they have one\n%s", r.Code, report, run.answers["202"], r.Stderr)
	}
}

// rollingCrowd begins purchases at a steady rate.
type rollingCrowd struct {
	stop func()

	mu       sync.Mutex
	answers  map[string]int
	unserved int
	longest  time.Duration
}

func startRollingCrowd(t *testing.T, url string, buyers []crowd.Buyer) *rollingCrowd {
	r := &rollingCrowd{answers: make(map[string]int)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: rollWorkers}, Timeout: 15 * time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	work := make(chan crowd.Buyer)
	var group sync.WaitGroup
	group.Go(func() {
		defer close(work)
		tick := time.NewTicker(time.Second / rollRate)
		defer tick.Stop()
		for _, buyer := range buyers {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			work <- buyer
		}
	})
	for range rollWorkers {
		group.Go(func() {
			for buyer := range work {
				r.purchase(t.Context(), client, url, buyer)
			}
		})
	}
	r.stop = func() { cancel(); group.Wait(); client.CloseIdleConnections() }
	t.Cleanup(r.stop)
	return r
}

func (r *rollingCrowd) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers[what]
}

// purchase presses until there is a 202, as long after a 503 as it says.
func (r *rollingCrowd) purchase(ctx context.Context, client *http.Client, url string, buyer crowd.Buyer) {
	began := time.Now()
	ticket := ""
	for time.Since(began) < rollWithin {
		what, again, next := rollPress(ctx, client, url, buyer.Token, ticket)
		ticket = next
		r.mu.Lock()
		r.answers[what]++
		r.longest = max(r.longest, time.Since(began))
		r.mu.Unlock()
		if what == "202" {
			return
		}
		timer := time.NewTimer(again)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
	r.mu.Lock()
	r.unserved++
	r.mu.Unlock()
}

// rollPress is one request; what names the answer, with a word where it breaks what the API promises.
func rollPress(ctx context.Context, client *http.Client, url, token, ticket string) (what string, again time.Duration, next string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"quantity":1}`))
	if err != nil {
		return err.Error(), time.Second, ""
	}
	request.GetBody = nil // so that nothing repeats it by itself
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	if ticket != "" {
		request.Header.Set("Headgate-Ticket", ticket)
	}
	response, err := client.Do(request)
	if err != nil {
		return "no answer: " + err.Error(), time.Second, ticket
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "half an answer: " + err.Error(), time.Second, ticket
	}
	if response.StatusCode == http.StatusAccepted {
		return "202", 0, ""
	}
	var refusal struct {
		Code   string `json:"code"`
		Ticket string `json:"ticket"`
	}
	after, notANumber := strconv.Atoi(response.Header.Get("Retry-After"))
	if json.Unmarshal(text, &refusal) != nil || refusal.Code == "" || response.StatusCode == http.StatusServiceUnavailable && notANumber != nil {
		return fmt.Sprintf("broken answer: %d %.100q", response.StatusCode, text), time.Second, ticket
	}
	return fmt.Sprintf("%d %s", response.StatusCode, refusal.Code), max(time.Second, time.Duration(after)*time.Second), refusal.Ticket
}
