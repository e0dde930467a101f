package counter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/replica"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

// A restart must bring everything back: after a clean stop, after one with a snapshot, and from the
// folder as a crash leaves it.
func TestRestartRecoversEverything(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, cfg *counter.Config, s *running){
		"clean stop": func(t *testing.T, _ *counter.Config, s *running) {
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
		},
		"crash": func(t *testing.T, cfg *counter.Config, s *running) {
			cfg.DataDir = copyDir(t, cfg.DataDir) // the other one goes on, on its own folder
		},
		"crash within a snapshot": func(t *testing.T, cfg *counter.Config, s *running) {
			cfg.DataDir = copyDir(t, cfg.DataDir)
			unfinished := filepath.Join(cfg.DataDir, "snapshots", "9-9-9.tmp")
			if err := os.Mkdir(unfinished, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, snapshots := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, snapshots %v", name, snapshots), func(t *testing.T) {
				cfg := testConfig(t.TempDir())
				cfg.FinalSnapshot = snapshots
				log := servicetest.Log(t)
				s := start(t, cfg, counter.WithReplica(func(c *replica.Config) {
					c.Log = log
					if snapshots {
						c.SnapshotEntries = 3 // so that a snapshot and a tail are there
					}
				}))
				c := dial(t, s.Addr())
				c.open("1", 10, 2)
				orders := []string{c.reserve("1", "u1", 1, "k1"), c.reserve("1", "u2", 2, ""), c.reserve("1", "u3", 1, "")}
				c.want(`["confirmed"]`, "CONFIRM", orders[0])
				c.want("+released", "ABORT", orders[2], "why")
				c.want("+OK", "BAN", "user", "bad", "0", "spam")
				if snapshots {
					servicetest.Eventually(t, 30*time.Second, "a snapshot", func() bool {
						kept, _ := filepath.Glob(filepath.Join(cfg.DataDir, "snapshots", "*-*-*"))
						return len(kept) > 0 && !strings.HasSuffix(kept[0], ".tmp")
					})
				}
				c.want(`["confirmed"]`, "CONFIRM", orders[1]) // the tail
				before := []string{c.do("USER", "1", "u1"), c.do("USER", "1", "u2"), c.do("USER", "1", "u3")}
				rules := strings.Fields(c.do("RULES", "0"))
				prepare(t, &cfg, s)

				cfg.Bootstrap = false
				s = start(t, cfg)
				c = dial(t, s.Addr())
				for i, user := range []string{"u1", "u2", "u3"} {
					c.want(before[i], "USER", "1", user)
				}
				c.want(`["already" "`+orders[0]+`" "confirmed" :1 :1 :0]`, "RESERVE", "1", "u1", "1", "k1")
				if got := strings.Fields(c.do("RULES", "0")); got[0] != rules[0] || got[1] != rules[1] {
					t.Errorf("rules %v, before the restart %v", got, rules)
				}
				audit := c.do("AUDIT", "1")
				for name, want := range map[string]string{"available": "7", "held": "0", "confirmed": "3", "alloc": "10", "violation": ""} {
					if got := field(audit, name); got != want {
						t.Errorf("%s is %s, want %s", name, got, want)
					}
				}
			})
		}
	}
}

func TestOlderClockRepeatsNoID(t *testing.T) {
	clock := newClocks()
	cfg := testConfig(t.TempDir())
	s := start(t, cfg, clock.options()...)
	c := dial(t, s.Addr())
	c.open("1", 1000, 0)
	seen := map[string]bool{}
	var last sale.OrderID
	take := func(n int) {
		t.Helper()
		for i := range n {
			id := c.reserve("1", fmt.Sprintf("u%d-%d", len(seen), i), 1, "")
			parsed, err := sale.ParseOrderID(id)
			if err != nil || seen[id] || parsed <= last {
				t.Fatalf("order %s after %d: %v", id, last, err)
			}
			seen[id], last = true, parsed
		}
	}
	take(50)
	for _, back := range []time.Duration{time.Minute, 24 * time.Hour} {
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		clock.set(clock.now().Add(-back))
		s = start(t, cfg, clock.options()...)
		c = dial(t, s.Addr())
		take(50)
	}
	report := s.rt.Health.Check(t.Context())
	for _, r := range report.Results {
		if r.Name == "clock" && r.Err == nil {
			t.Error("a clock set back by a day is not shown")
		}
	}
}

func TestOutageLongerThanHoldExpiresNothing(t *testing.T) {
	clock := newClocks()
	cfg := testConfig(t.TempDir())
	s := start(t, cfg, clock.options()...)
	c := dial(t, s.Addr())
	c.open("1", 2, 0)
	order := c.reserve("1", "u1", 1, "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Hour)
	s = start(t, cfg, clock.options()...)
	c = dial(t, s.Addr())
	if got := field(c.do("ORDER", order), "state"); got != "held" {
		t.Fatalf("after an hour's outage the hold is %s", got)
	}

	// A process that stood still for an hour served nobody meanwhile.
	clock.pass(50 * time.Minute)
	if got := field(c.do("ORDER", order), "state"); got != "held" {
		t.Fatalf("after a pause the hold is %s", got)
	}
	c.want(`["confirmed"]`, "CONFIRM", order)
}

func TestHoldsExpireInServedTime(t *testing.T) {
	clock := newClocks()
	s := start(t, testConfig(t.TempDir()), clock.options()...)
	c := dial(t, s.Addr())
	c.open("1", 1, 0)
	order := c.reserve("1", "u1", 1, "")
	c.want(`["sold_out" :1]`, "RESERVE", "1", "u2", "1", "")
	began := clock.elapsed()
	servicetest.Eventually(t, 30*time.Second, "the hold expires", func() bool {
		clock.pass(500 * time.Millisecond)
		return field(c.do("ORDER", order), "state") == "expired"
	})
	if served := clock.elapsed() - began; served < 29*time.Second {
		t.Errorf("the hold of 30 s expired after %s", served)
	}
	c.want(`["expired"]`, "CONFIRM", order)
	c.reserve("1", "u2", 1, "")
}

func TestStagedReleaseComesByItself(t *testing.T) {
	clock := newClocks()
	s := start(t, testConfig(t.TempDir()), clock.options()...)
	c := dial(t, s.Addr())
	at := clock.now().Add(10 * time.Second).UnixMilli()
	json := strings.Replace(terms("1", 2, 0), `"hold_for_ms"`, fmt.Sprintf(`"releases":[{"at":%d,"units":1}],"hold_for_ms"`, at), 1)
	c.want("+OK", "SALE.OPEN", json)
	c.want("+OK", "SALE.RESUME", "1", "2")
	c.reserve("1", "u1", 1, "")
	c.want(`["not_open" :`+strconv.FormatInt(at, 10)+`]`, "RESERVE", "1", "u2", "1", "")
	clock.pass(11 * time.Second)
	servicetest.Eventually(t, 30*time.Second, "the release", func() bool {
		return field(c.do("SALE.INFO", "1"), "available") == "1"
	})
	c.reserve("1", "u2", 1, "")
}

// Damage and mistakes stop the start with the name of what is wrong.
func TestStartIsRefused(t *testing.T) {
	prepare := func(t *testing.T) counter.Config {
		cfg := testConfig(t.TempDir())
		cfg.FinalSnapshot = true
		s := start(t, cfg)
		c := dial(t, s.Addr())
		c.open("1", 100, 0)
		for i := range 20 {
			c.reserve("1", "u"+strconv.Itoa(i), 1, "")
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, cfg *counter.Config)
		want   string
	}{
		{"empty folder without bootstrap", func(t *testing.T, cfg *counter.Config) {
			cfg.DataDir, cfg.Bootstrap = t.TempDir(), false
		}, "bootstrap: true"},
		{"foreign folder", func(t *testing.T, cfg *counter.Config) {
			cfg.DataDir = t.TempDir()
			write(t, filepath.Join(cfg.DataDir, "letter.txt"), "hello")
		}, "letter.txt"},
		{"another shard's number", func(_ *testing.T, cfg *counter.Config) { cfg.Shard.Number = 7 }, `belongs to shard "s1", number 0`},
		{"another shard's name", func(_ *testing.T, cfg *counter.Config) { cfg.Shard.Name = "s2" }, `belongs to shard "s1"`},
		{"damaged identity", func(t *testing.T, cfg *counter.Config) {
			write(t, filepath.Join(cfg.DataDir, "shard.json"), "{")
		}, "shard.json is damaged: offset 1: "},
		{"later identity", func(t *testing.T, cfg *counter.Config) {
			write(t, filepath.Join(cfg.DataDir, "shard.json"), `{"version":2,"voter":"v","shard":"s1"}`)
		}, "run a newer one"},
		{"lost log", func(t *testing.T, cfg *counter.Config) {
			remove(t, filepath.Join(cfg.DataDir, "log"))
			remove(t, filepath.Join(cfg.DataDir, "snapshots"))
		}, "restore the folder"},
		{"lost log behind a snapshot", func(t *testing.T, cfg *counter.Config) {
			remove(t, filepath.Join(cfg.DataDir, "log"))
		}, "entries are missing"},
		{"lost tail of the log", func(t *testing.T, cfg *counter.Config) {
			for _, f := range find(t, filepath.Join(cfg.DataDir, "log"), ".wal") {
				remove(t, f)
			}
		}, ".wal is missing"},
		{"lost log without a snapshot", func(t *testing.T, cfg *counter.Config) {
			remove(t, filepath.Join(cfg.DataDir, "snapshots"))
			for _, f := range find(t, filepath.Join(cfg.DataDir, "log"), ".wal") {
				remove(t, f)
			}
		}, ".wal is missing"},
		{"damaged snapshot", func(t *testing.T, cfg *counter.Config) {
			flip(t, filepath.Join(cfg.DataDir, "snapshots"), "state.bin")
		}, "state.bin: snapshot of shard s1: offset "},
		{"truncated snapshot", func(t *testing.T, cfg *counter.Config) {
			for _, f := range find(t, filepath.Join(cfg.DataDir, "snapshots"), "state.bin") {
				if err := os.Truncate(f, 60); err != nil {
					t.Fatal(err)
				}
			}
		}, "state.bin: snapshot of shard s1: offset 60: is cut off"},
		{"damaged snapshot description", func(t *testing.T, cfg *counter.Config) {
			for _, f := range find(t, filepath.Join(cfg.DataDir, "snapshots"), "meta.json") {
				write(t, f, "{")
			}
		}, "snapshot"},
		{"damaged log index", func(t *testing.T, cfg *counter.Config) {
			write(t, filepath.Join(cfg.DataDir, "log", "wal-meta.db"), "garbage")
		}, "wal-meta.db is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := prepare(t)
			c.damage(t, &cfg)
			s, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", servicetest.Log(t)))
			if err == nil {
				s.Close()
				t.Fatal("the counter started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not say %q: %v", c.want, err)
			}
		})
	}
}

func TestDamagedLogEntryStopsTheStart(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := start(t, cfg)
	c := dial(t, s.Addr())
	c.open("1", 100, 0)
	c.reserve("1", "somebody-special", 1, "")
	c.reserve("1", "somebody-else", 1, "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, f := range find(t, filepath.Join(cfg.DataDir, "log"), ".wal") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, strings.Replace(string(text), "somebody-special", "somebodY-special", 1))
	}
	_, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", nil))
	for _, want := range []string{filepath.Join(cfg.DataDir, "log"), ".wal: offset ", "entry "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	cfg := testConfig(t.TempDir())
	start(t, cfg)
	_, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", nil))
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("got %v", err)
	}
}

func TestConfigProblems(t *testing.T) {
	for _, c := range []struct {
		change func(*counter.Config)
		want   string
	}{
		{func(c *counter.Config) { c.Listen = "0.0.0.0:7380" }, "client_password"},
		{func(c *counter.Config) { c.Listen = "somewhere" }, "listen"},
		{func(c *counter.Config) { c.ClientPassword = "x" }, "operator_password"},
		{func(c *counter.Config) { c.OperatorPassword = "x" }, "client_password"},
		{func(c *counter.Config) { c.ClientPassword, c.OperatorPassword = "x", "x" }, "must differ"},
		{func(c *counter.Config) { c.RaftListen = "7381" }, "raft_listen"},
		{func(c *counter.Config) { c.DataDir = "" }, "data_dir"},
		{func(c *counter.Config) { c.Shard.Name = "s 1" }, "shard.name"},
		{func(c *counter.Config) { c.Shard.Number = 1024 }, "shard.number"},
		{func(c *counter.Config) { c.Limits.Connections = 0 }, "limits.connections"},
		{func(c *counter.Config) { c.Limits.GroupCommands = 10 }, "limits.group_commands"},
		{func(c *counter.Config) { c.Limits.QueuedCommands = 1024 }, "limits.queued_commands"},
		{func(c *counter.Config) { c.Limits.IdleTimeout = 0 }, "limits.idle_timeout"},
	} {
		cfg := counter.DefaultConfig()
		c.change(&cfg)
		if err := config.Check(&cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want a problem with %s, got %v", c.want, err)
		}
	}
	cfg := counter.DefaultConfig()
	if err := config.Check(&cfg); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	cfg.Listen, cfg.ClientPassword, cfg.OperatorPassword = "0.0.0.0:7380", "x", "y"
	if err := config.Check(&cfg); err != nil {
		t.Errorf("with passwords: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// find lists the files under a folder whose name ends so; at least one.
func find(t *testing.T, folder, suffix string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s: %v", suffix, folder, err)
	}
	return found
}

// flip changes one bit in the middle of the files.
func flip(t *testing.T, folder, suffix string) {
	t.Helper()
	for _, f := range find(t, folder, suffix) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 1
		write(t, f, string(text))
	}
}
