package service

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
)

// reloadable takes a password over, but no address, and notes what it was given.
type reloadable struct {
	program
	running programConfig
	fails   error

	mu    sync.Mutex
	taken []string
}

func (r *reloadable) CheckReload(next *programConfig, p *config.Problems) {
	if next.Listen != r.running.Listen {
		p.Addf("listen", "cannot be changed while the program runs")
	}
}

func (r *reloadable) Reload(next programConfig) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails != nil {
		return r.fails
	}
	r.taken = append(r.taken, next.Password.Reveal())
	return nil
}

func (r *reloadable) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.taken) == 0 {
		return ""
	}
	return r.taken[len(r.taken)-1]
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func metricsOf(rt *Runtime) string {
	var b strings.Builder
	rt.Metrics.WritePrometheus(&b)
	return b.String()
}

// Every outcome of a changed file, look by look.
func TestReloaderTakesWhatIsRightAndKeepsTheRest(t *testing.T) {
	const first = "password: one\n"
	path := write(t, first)
	var log output
	logger, err := NewLogger(DefaultConfig(), &log)
	if err != nil {
		t.Fatal(err)
	}
	rt := NewRuntime("test", logger)
	p := &reloadable{running: defaults()}
	started := defaults()
	rt.ShowConfig(&started)
	r := newReloader(path, []byte(first), runs(nil), p, rt)
	gone := filepath.Join(t.TempDir(), "gone")

	var refused int
	for _, step := range []struct {
		name    string
		text    string // "": the file stays as it is; "-": it is away
		fails   error
		looks   int  // by the clock
		asked   bool // then by a signal
		last    string
		says    string // in the log, the metric refused, health and /config
		refuses bool
	}{
		{name: "nothing changed", looks: 3},
		{name: "half written: one look is not enough", text: "password: t", looks: 1},
		{name: "two looks saw the same", text: "password: two\n", looks: 2, last: "two"},
		{name: "asked, it is taken at once", text: "password: three\n", asked: true, last: "three"},
		{name: "wrong", text: "password: four\nlistne: b:2\n", looks: 4, last: "three", refuses: true, says: path + `:2: listne: unknown key; did you mean "listen"?`},
		{name: "asked, it is tried again", asked: true, last: "three", refuses: true, says: path + ":2: listne:"},
		{name: "wrong syntax", text: "password: [\n", looks: 2, last: "three", refuses: true, says: "not valid YAML"},
		{name: "cannot be changed while it runs", text: "password: four\n\nlisten: b:2\n", looks: 2, last: "three", refuses: true, says: path + ":3: listen: cannot be changed while the program runs"},
		{name: "back to what runs", text: "password: three\n", looks: 2, last: "three"},
		{name: "the program fails to take it", text: "password: five\n", fails: errors.New("no room"), looks: 3, last: "three", refuses: true, says: "no room"},
		{name: "away", text: "-", looks: 3, last: "three", refuses: true, says: "no such file"},
		{name: "there again, and still wanted", text: "password: five\n", looks: 2, last: "five"},
		{name: "away again", text: "-", looks: 1, last: "five", refuses: true, says: "no such file"},
		{name: "the same is there again", text: "password: five\n", looks: 2, last: "five"},
	} {
		switch step.text {
		case "":
		case "-":
			if err := os.Rename(path, gone); err != nil {
				t.Fatal(err)
			}
		default:
			rewrite(t, path, step.text)
		}
		p.fails = step.fails
		for range step.looks {
			r.look(false)
		}
		if step.asked {
			r.look(true)
		}
		if p.last() != step.last {
			t.Errorf("%s: runs with %q, want %q", step.name, p.last(), step.last)
		}
		if step.refuses {
			refused++
		}
		refusal := rt.configRefusal()
		if (refusal != nil) != step.refuses || step.refuses && !strings.Contains(refusal.Error(), step.says) {
			t.Errorf("%s: /config says %v, want %q", step.name, refusal, step.says)
		}
		health := rt.Health.Check(t.Context()).Results[0].Err
		if (health != nil) != step.refuses {
			t.Errorf("%s: health says %v", step.name, health)
		}
		metrics := metricsOf(rt)
		if want := map[bool]string{true: "0", false: "1"}[step.refuses]; !strings.Contains(metrics, `headgate_config_last_reload_successful{program="test"} `+want) {
			t.Errorf("%s: last_reload_successful is not %s in %s", step.name, want, metrics)
		}
		if got := int(r.refused.Get()); got != refused {
			t.Errorf("%s: %d refusals counted, want %d", step.name, got, refused)
		}
	}
	for _, line := range []string{`file=` + path + ` line=2 field=listne reason="unknown key;`, `file=` + path + ` line=3 field=listen reason="cannot be changed`} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in the log\n%s", line, log.String())
		}
	}
	if strings.Contains(log.String(), "three") || int(r.taken.Get()) != 3 {
		t.Errorf("%d taken; the log tells secrets, or not: %s", r.taken.Get(), log.String())
	}
}

// The whole way: a signal and a change of the file, through Main's own loop, with the admin port's word.
func TestSignalAndFileChangeReload(t *testing.T) {
	admin := servicetest.FreePort(t)
	head := "service:\n  admin: " + admin + "\n"
	path := write(t, head+"password: one\n")
	signals := make(chan os.Signal, 3)
	p := &reloadable{program: program{untilStopped}}
	spec := specOf(func(_ context.Context, c programConfig, _ *Runtime) (Program, error) {
		p.running = c
		return p, nil
	})
	var stderr output
	code := make(chan int, 1)
	go func() { code <- run(spec, []string{"--config", path}, io.Discard, &stderr, signals) }()
	servicetest.Eventually(t, 30*time.Second, "it runs", func() bool { return strings.Contains(stderr.String(), "msg=ready") })
	rewrite(t, path, head+"password: two\n")
	servicetest.Eventually(t, 30*time.Second, "the change is found", func() bool { return p.last() == "two" })
	rewrite(t, path, head+"password: three\nlisten: b:2\n")
	signals <- syscall.SIGHUP
	servicetest.Eventually(t, 30*time.Second, "/config tells of the refusal", func() bool {
		_, page := get(t, "http://"+admin+"/config")
		return strings.Contains(page, "not taken") && strings.Contains(page, path+":4: listen: cannot be changed while the program runs")
	})
	if status, page := get(t, "http://"+admin+"/readyz?verbose"); status != 200 || !strings.Contains(page, "config (degraded): the config file was changed, and is not taken") {
		t.Errorf("/readyz says %d %s", status, page)
	}
	rewrite(t, path, head+"password: three\n")
	signals <- syscall.SIGHUP
	servicetest.Eventually(t, 30*time.Second, "it is taken", func() bool { return p.last() == "three" })
	if _, page := get(t, "http://"+admin+"/config"); strings.Contains(page, "not taken") {
		t.Errorf("/config says %s", page)
	}
	if _, page := get(t, "http://"+admin+"/metrics"); !strings.Contains(page, `headgate_config_info{program="test",hash="`) {
		t.Errorf("no hash in the metrics")
	}
	signals <- syscall.SIGTERM
	if got := <-code; got != ExitOK {
		t.Errorf("ended with %d: %s", got, stderr.String())
	}
}

func TestSignalWithoutReload(t *testing.T) {
	signals := make(chan os.Signal, 3)
	var stderr output
	code := make(chan int, 1)
	go func() { code <- run(runs(untilStopped), nil, io.Discard, &stderr, signals) }()
	signals <- syscall.SIGHUP
	servicetest.Eventually(t, 30*time.Second, "it says so", func() bool { return strings.Contains(stderr.String(), "restart it") })
	signals <- syscall.SIGTERM
	if got := <-code; got != ExitOK {
		t.Errorf("ended with %d: %s", got, stderr.String())
	}
}
