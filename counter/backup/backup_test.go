package backup_test

import (
	"context"
	"encoding/binary"
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

	"go.uber.org/goleak"

	"headgate.example/counter"
	"headgate.example/counter/backup"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ring = sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05}

func terms(id string, stock int64) sale.Terms {
	return sale.Terms{
		ID: id, Revision: 1, Stock: stock, Limit: 1, OpensAt: 1767225600000, HoldForMillis: 600_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: ring,
	}
}

// process is a counter of its own, as an operator runs it.
type process struct {
	t            *testing.T
	binary, addr string
	cmd          *exec.Cmd
	log          strings.Builder
}

func build(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, binary: servicetest.Program(t, "counter", "headgate.example/counter/cmd/counter"), addr: servicetest.FreePort(t)}
	t.Cleanup(p.kill)
	return p
}

func (p *process) start(dataDir string, bootstrap bool) {
	p.t.Helper()
	text := fmt.Sprintf("listen: %s\nraft_listen: ''\nservice: {admin: '', mode: development}\nbootstrap: %v\ndata_dir: %s\nclient_password: buyer-secret\noperator_password: operator-secret\n", p.addr, bootstrap, dataDir)
	file := filepath.Join(p.t.TempDir(), "counter.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.log.Reset()
	p.cmd = exec.Command(p.binary, "--config", file)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

func (p *process) client() *client.Client {
	p.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Shards[0].Addresses = []string{p.addr}
	cfg.ClientPassword, cfg.OperatorPassword = "buyer-secret", "operator-secret"
	cfg.Timeout = 20 * time.Second
	c, err := client.Open(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, c *client.Client, s sale.Terms) {
	t.Helper()
	if err := c.OpenSale(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := c.ResumeSale(t.Context(), s.ID, 2); err != nil {
		t.Fatal(err)
	}
}

// crowd buys one unit per user until stopped, and remembers every id that a buyer was told.
type crowd struct {
	told sync.Map // order -> user
	sold atomic.Int64
	next atomic.Int64
	wg   sync.WaitGroup
	stop context.CancelFunc
}

func (c *crowd) begin(t *testing.T, to *client.Client, saleID string) {
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for range 16 {
		c.wg.Go(func() {
			for ctx.Err() == nil {
				user := fmt.Sprintf("u%d", c.next.Add(1))
				r, err := to.Reserve(t.Context(), saleID, user, 1, "")
				if err != nil || r.Refused() {
					t.Errorf("%s: %+v, %v", user, r, err)
					return
				}
				if codes, err := to.Confirm(t.Context(), r.Order); err != nil || codes[0] != client.ConfirmConfirmed {
					t.Errorf("%s: %v, %v", user, codes, err)
				}
				if other, twice := c.told.LoadOrStore(r.Order, user); twice {
					t.Errorf("order %s for %s and %v", r.Order, user, other)
				}
				c.sold.Add(1)
			}
		})
	}
}

func (c *crowd) end() {
	c.stop()
	c.wg.Wait()
}

func defaults(dir string) counter.Config {
	cfg := counter.DefaultConfig()
	cfg.DataDir, cfg.RaftListen, cfg.Shard.Name = dir, "", ""
	return cfg
}

// A backup is taken from a process that sells; the disk is lost; the shard comes back, stands still, is
// rebuilt from what the ledger knows, and sells on without repeating an id.
func TestBackupUnderLoadAndRestore(t *testing.T) {
	p := build(t)
	p.start(filepath.Join(t.TempDir(), "first"), true)
	c := p.client()
	const stock = 1_000_000
	open(t, c, terms("1", stock))
	var buyers crowd
	buyers.begin(t, c, "1")
	servicetest.Eventually(t, 30*time.Second, "buyers buy", func() bool { return buyers.sold.Load() > 500 })
	before := buyers.sold.Load()
	file := filepath.Join(t.TempDir(), "s1.backup")
	taken, err := backup.Take(t.Context(), c, "s1", file, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	atBackup := buyers.sold.Load()
	servicetest.Eventually(t, 30*time.Second, "the sale goes on", func() bool { return buyers.sold.Load() > atBackup+500 })
	buyers.end()
	p.kill() // and its disk is gone

	loaded, err := backup.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := loaded.State.Info("1", time.Now().UnixMilli())
	if info.Confirmed < before || info.Confirmed+info.Held > atBackup+16 || taken.Applied == 0 {
		t.Errorf("the backup has %d confirmed and %d held: %d were before it, %d after it; %+v", info.Confirmed, info.Held, before, atBackup, taken)
	}
	dir := filepath.Join(t.TempDir(), "second")
	done, err := backup.Restore(t.Context(), file, backup.RestoreOptions{Counter: defaults(dir), Now: time.Now()})
	if err != nil || len(done.Stopped) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	p.start(dir, false)
	if r, err := c.Reserve(t.Context(), "1", "late", 1, ""); err != nil || r.Code != "paused" {
		t.Errorf("after the restore: %+v, %v", r, err)
	}
	var refused *client.RequestError
	if err := c.ResumeSale(t.Context(), "1", 3); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "SALE.RESTORE") {
		t.Errorf("RESUME: %v", err)
	}

	ledger := restoreJSON(&buyers, stock)
	if err := c.RestoreSale(t.Context(), ledger); err != nil {
		t.Fatal(err)
	}
	if err := c.ResumeSale(t.Context(), "1", 3); err != nil {
		t.Fatal(err)
	}
	sold := buyers.sold.Load()
	buyers.begin(t, c, "1")
	servicetest.Eventually(t, 30*time.Second, "buyers buy again", func() bool { return buyers.sold.Load() > sold+500 })
	buyers.end()
	audit, err := c.Audit(t.Context(), "1")
	if err != nil || !audit.Holds || audit.Total.Confirmed != buyers.sold.Load() {
		t.Errorf("%d were told that they have one; audit %+v, %v", buyers.sold.Load(), audit, err)
	}
	higher := 0
	buyers.told.Range(func(order, _ any) bool {
		if order.(sale.OrderID) > done.Floor {
			higher++
		}
		return true
	})
	if int64(higher) != buyers.sold.Load()-sold {
		t.Errorf("%d ids lie above the floor, %d were minted since", higher, buyers.sold.Load()-sold)
	}
}

// restoreJSON is what a ledger would send: everybody who was told that they have one.
func restoreJSON(buyers *crowd, stock int64) []byte {
	var rows []string
	buyers.told.Range(func(order, user any) bool {
		rows = append(rows, fmt.Sprintf(`{"order":"%s","user":%q,"quantity":1,"slot":1}`, order.(sale.OrderID), user))
		return true
	})
	return fmt.Appendf(nil, `{"terms":{"id":"1","revision":1,"stock":%d,"limit":1,"opens_at":1767225600000,"hold_for_ms":600000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}},"revision":2,"sold":[%s]}`, stock, strings.Join(rows, ","))
}

// small makes a backup of a little shard.
func small(t *testing.T) string {
	t.Helper()
	p := build(t)
	p.start(filepath.Join(t.TempDir(), "data"), true)
	c := p.client()
	open(t, c, terms("1", 10))
	if _, err := c.Reserve(t.Context(), "1", "u1", 1, ""); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "s1.backup")
	if _, err := backup.Take(t.Context(), c, "s1", file, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Take(t.Context(), c, "s1", file, time.Now()); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second backup under the same name: %v", err)
	}
	if _, err := backup.Take(t.Context(), c, "s1", file+"2", time.Now()); err != nil {
		t.Errorf("a second backup: %v", err) // the first one was closed
	}
	left, err := filepath.Glob(file + "*part*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return file
}

func TestRestoreRefuses(t *testing.T) {
	file := small(t)
	options := func(dir string) backup.RestoreOptions {
		return backup.RestoreOptions{Counter: defaults(dir), Now: time.Now()}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other, number, floor := options(filepath.Join(t.TempDir(), "x")), options(filepath.Join(t.TempDir(), "x")), options(filepath.Join(t.TempDir(), "x"))
	other.Counter.Shard = counter.ShardConfig{Name: "s2"}
	number.Counter.Shard = counter.ShardConfig{Name: "s1", Number: 1}
	floor.Known = sale.MakeOrderID(1, 9, 1)
	for _, c := range []struct {
		name, want string
		o          backup.RestoreOptions
	}{
		{"a folder with something in it", "letter.txt", options(full)},
		{"another shard", `not of "s2" number 0`, other},
		{"another number", `not of "s1" number 1`, number},
		{"another shard's id", "id_floor", floor},
	} {
		if _, err := backup.Restore(t.Context(), file, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.o.Counter.DataDir != full {
			if _, err := os.Stat(c.o.Counter.DataDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: the folder was made", c.name)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "y")
	if _, err := backup.Restore(t.Context(), file, options(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), file, options(dir)); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into the same folder again: %v", err)
	}
}

// Damage anywhere in the file is found, with the file's name and an offset.
func TestDamagedBackup(t *testing.T) {
	file := small(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, text []byte) {
		t.Helper()
		bad := filepath.Join(t.TempDir(), "bad.backup")
		if err := os.WriteFile(bad, text, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "data")
		_, err := backup.Restore(t.Context(), bad, backup.RestoreOptions{Counter: defaults(dir), Now: time.Now()})
		if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "offset ") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the folder was made", what)
		}
	}
	for at := 0; at < len(good); at += 1 + len(good)/150 {
		flipped := append([]byte(nil), good...)
		flipped[at] ^= 0x10
		check(fmt.Sprintf("a bit of byte %d of %d", at, len(good)), flipped)
		check(fmt.Sprintf("cut to %d of %d", at, len(good)), good[:at])
	}
	check("a byte more", append(append([]byte(nil), good...), 0))
	later := append([]byte(nil), good...)
	binary.LittleEndian.PutUint16(later[8:], backup.Version+1)
	check("a later version", later)
}
