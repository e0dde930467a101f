package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func build(t *testing.T) string {
	t.Helper()
	return servicetest.Program(t, "counter", "headgate.example/counter/cmd/counter")
}

func config(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counter.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsAndConfig(t *testing.T) {
	binary := build(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--version"}, 0, "counter "},
		{[]string{"--check", "--config", config(t, "shard: {name: s1, number: 3}")}, 0, "configuration is right"},
		{[]string{"--config", config(t, "shard: {name: s1, nummer: 3}")}, 2, ":1: shard.nummer"},
		{[]string{"--config", config(t, "listen: 127.0.0.1:0", "limits:", "  connections: many")}, 2, ":3: limits.connections"},
		{[]string{"--config", config(t, "listen: 0.0.0.0:7380")}, 2, "client_password"},
		{[]string{"--config", config(t, "listen: 127.0.0.1:0", "raft_listen: ''", "service: {admin: ''}", "data_dir: "+t.TempDir())}, 1, "bootstrap: true"},
	} {
		out, err := exec.CommandContext(t.Context(), binary, c.args...).CombinedOutput()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: exit %d, %s; want exit %d and %q", c.args, code, out, c.code, c.want)
		}
	}
}

// The process is killed under load, again and again. No order that a buyer was told of is lost, none is
// sold twice, and exactly the stock is sold.
func TestKilledUnderLoad(t *testing.T) {
	binary, address := build(t), servicetest.FreePort(t)
	file := config(t, "listen: "+address, "raft_listen: ''", "service: {admin: ''}", "bootstrap: true", "data_dir: "+filepath.Join(t.TempDir(), "data"))
	var log strings.Builder
	run := func() *exec.Cmd {
		t.Helper()
		p := exec.Command(binary, "--config", file)
		p.Stderr = &log
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Process.Kill() })
		return p
	}
	cfg := client.DefaultConfig()
	cfg.Shards[0].Addresses = []string{address}
	cfg.Timeout = 20 * time.Second
	c, err := client.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := run()
	const stock, kills = 20_000, 5
	terms := sale.Terms{
		ID: "1", Revision: 1, Stock: stock, Limit: 1, OpensAt: 1767225600000, HoldForMillis: 600_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
	if err := c.OpenSale(t.Context(), terms); err != nil {
		t.Fatal(err)
	}
	if err := c.ResumeSale(t.Context(), "1", 2); err != nil {
		t.Fatal(err)
	}

	var told sync.Map // order -> user
	var sold, next atomic.Int64
	var crowd sync.WaitGroup
	for range 32 {
		crowd.Go(func() {
			for {
				user := fmt.Sprintf("u%d", next.Add(1))
				r, err := c.Reserve(t.Context(), "1", user, 1, "")
				if err != nil {
					t.Errorf("%s: %v", user, err)
					return
				}
				if r.Refused() {
					return
				}
				if codes, err := c.Confirm(t.Context(), r.Order); err != nil || codes[0] != client.ConfirmConfirmed {
					t.Errorf("%s: confirming %s: %v, %v", user, r.Order, codes, err)
				}
				if other, twice := told.LoadOrStore(r.Order, user); twice {
					t.Errorf("order %s for %s and %v", r.Order, user, other)
				}
				sold.Add(1)
			}
		})
	}
	for round := range kills {
		servicetest.Eventually(t, 30*time.Second, "more are sold", func() bool { return sold.Load() >= int64(round+1)*stock/(kills+2) })
		_ = p.Process.Kill()
		_ = p.Wait()
		p = run()
	}
	crowd.Wait()
	audit, err := c.Audit(t.Context(), "1")
	if err != nil || !audit.Holds || audit.Total.Confirmed != stock || sold.Load() != stock {
		t.Errorf("%d of %d were told that they have one; audit %+v, %v", sold.Load(), stock, audit, err)
	}
	kept := map[sale.OrderID]string{}
	for after := sale.OrderID(0); ; {
		page, err := c.Holds(t.Context(), "1", sale.Confirmed, after, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, h := range page {
			kept[h.Order], after = h.User, h.Order
		}
	}
	told.Range(func(order, user any) bool {
		if kept[order.(sale.OrderID)] != user {
			t.Errorf("order %v of %v is lost", order, user)
		}
		return true
	})
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the end after an interrupt: %v\n%s", err, log.String())
	}
}
