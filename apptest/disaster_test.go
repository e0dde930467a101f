package apptest

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// The disasters of the README's "When a disk is lost", each from a running system to a holding audit by
// the commands that stand there. drillStock units are on sale, one to a buyer.
const (
	drillSale  = "drill"
	drillStock = 200
)

// drill is a running system with a sale, and what its buyers were told.
type drill struct {
	*market
	t      *testing.T
	fleet  *programs.Fleet
	fresh  []crowd.Buyer
	buyer  map[string]crowd.Buyer
	orders map[string]string // user -> the order that he was told 202 of, unless it was cancelled
	flags  []string          // of the repair
}

// newDrill starts the programs, on RabbitMQ and MariaDB or on the embedded parts.
func newDrill(t *testing.T, spec programs.FleetSpec, dsn string) *drill {
	t.Helper()
	d := &drill{t: t, fleet: programs.NewFleet(t, bin, spec), buyer: map[string]crowd.Buyer{}, orders: map[string]string{}}
	var book *ledger.Ledger
	var err error
	if dsn != "" {
		book, err = ledger.OpenMySQL(dsn)
	} else {
		book, err = ledger.OpenSQLite(d.fleet.LedgerFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	d.market = &market{edge: d.fleet.Edge, cli: d.fleet.CLI, ledger: book}
	d.must(t, "sale", "create", drillSale, "--title", "Drill", "--stock", strconv.Itoa(drillStock), "--limit", "1", "--price", "100", "--open")
	d.fresh = d.buyers(t, 3*drillStock, "d")
	return d
}

// buy lets that many people buy, and gives what they were told last.
func (d *drill) buy(count int) {
	d.t.Helper()
	left := d.fresh[:count]
	d.fresh = d.fresh[count:]
	for _, b := range left {
		d.buyer[b.User] = b
	}
	waitFor(d.t, patience, fmt.Sprintf("%d people have bought", count), func() bool {
		report, err := crowd.Run(d.t.Context(), crowd.Plan{Base: d.edge, Sale: drillSale, Connections: 20, Rounds: 10, Pause: time.Second}, left)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, a := range report.Answers {
			if a.Accepted() {
				d.orders[left[a.Buyer].User] = a.OrderID
			}
		}
		var again []crowd.Buyer
		for _, b := range left {
			if d.orders[b.User] == "" {
				again = append(again, b)
			}
		}
		if left = again; len(left) > 0 {
			d.t.Logf("pressing again: %d people, %v", len(left), report.Counts())
		}
		return len(left) == 0
	})
}

// cancel lets that many people cancel their orders.
func (d *drill) cancel(count int) {
	d.t.Helper()
	for user, order := range d.orders {
		if count--; count < 0 {
			return
		}
		waitFor(d.t, patience, "order "+order+" is cancelled", func() bool {
			return post(d.t, d.edge+"/api/orders/"+order+"/cancel", d.buyer[user].Token, struct{}{}, &struct{}{}) == http.StatusOK
		})
		delete(d.orders, user)
	}
}

// repairs runs the repair as the README tells, dry first, and checks what it says.
func (d *drill) repairs(wanted ...string) {
	d.t.Helper()
	dry := d.cli(append([]string{"audit", "--repair"}, d.flags...)...)
	if dry.Code != 1 && dry.Code != 2 || !strings.Contains(dry.Stdout, "nothing was changed: add --yes") {
		d.t.Fatalf("dry run: exit code %d\n%s%s", dry.Code, dry.Stdout, dry.Stderr)
	}
	if again := d.cli("audit"); again.Code != 1 && again.Code != 2 {
		d.t.Fatalf("the dry run changed something: exit code %d\n%s", again.Code, again.Stdout)
	}
	done := d.cli(append([]string{"audit", "--repair", "--yes", "--wait", "60s"}, d.flags...)...)
	if done.Code != 0 {
		d.t.Fatalf("repair: exit code %d\n%s%s", done.Code, done.Stdout, done.Stderr)
	}
	for _, what := range wanted {
		if !strings.Contains(done.Stdout, what) {
			d.t.Errorf("the repair does not say %q:\n%s", what, done.Stdout)
		}
		if kind, _, _ := strings.Cut(what, ":"); !strings.Contains(done.Stderr, "step="+kind) {
			d.t.Errorf("step %s is not logged:\n%s", kind, done.Stderr)
		}
	}
	fmt.Fprintln(d.t.Output(), done.Stdout)
}

// finish sells what is left, and holds every answer against the ledger.
func (d *drill) finish(resume bool) {
	d.t.Helper()
	if resume {
		d.must(d.t, "sale", "resume", drillSale)
	}
	d.buy(drillStock - len(d.orders))
	d.settled(d.t, drillSale)
	sold := d.checkLedger(d.t, outcome{sale: drillSale, stock: drillStock})
	for user, order := range d.orders {
		if sold[user] != order {
			d.t.Errorf("%s was told 202 of order %s, the ledger has %q", user, order, sold[user])
		}
	}
	if a := d.press(d.t, drillSale, d.fresh[0], 10); a.Code != "sold_out" {
		d.t.Errorf("after everything is sold somebody is told %s", a.What())
	}
	if left := d.cli("audit", "--repair"); left.Code != 0 || !strings.Contains(left.Stdout, "0 steps (would be done), 0 matters") {
		d.t.Errorf("another repair finds: exit code %d\n%s", left.Code, left.Stdout)
	}
	d.fleet.Stop()
}

// parts runs a drill on the embedded parts, and on RabbitMQ and MariaDB.
func onParts(t *testing.T, shards int, run func(t *testing.T, d *drill, dsn string)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		run(t, newDrill(t, programs.FleetSpec{Shards: shards}, ""), "")
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		amqp := need(t, "HEADGATE_TEST_AMQP_URL")
		dsn := freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))
		prefix := fmt.Sprintf("drill%d", time.Now().UnixNano())
		run(t, newDrill(t, programs.FleetSpec{AMQP: amqp, MySQL: dsn, Prefix: prefix, Shards: shards}, dsn), dsn)
	})
}

// loseCounter kills a shard with kill -9 and takes its disk.
func (d *drill) loseCounter(shard int) {
	d.t.Helper()
	d.fleet.Counters[shard].Kill()
	if err := os.RemoveAll(d.fleet.CounterFolder(shard)); err != nil {
		d.t.Fatal(err)
	}
}

// TestCounterDiskLost: orders are in the ledger, in the queue and freed when the counter's folder goes.
func TestCounterDiskLost(t *testing.T) {
	t.Parallel()
	onParts(t, 1, func(t *testing.T, d *drill, _ string) {
		d.buy(80)
		d.cancel(15)
		d.settled(t, drillSale)
		d.fleet.Consumer.Kill()
		d.buy(40) // these wait in the queue
		d.loseCounter(0)
		d.fleet.StartCounter(0) // bootstrap: true, on an empty folder
		d.fleet.StartConsumer(0)
		waitFor(t, patience, "the audit says that the sale is lost", func() bool {
			r := d.cli("audit")
			return r.Code == 1 && strings.Contains(r.Stdout, "the counter does not know the sale") && strings.Contains(r.Stdout, "ready 0")
		})
		d.repairs("pause_sale: sale drill", "restore_shard: sale drill on shard s1")
		d.finish(true)
	})
}

// TestShardDiskLost: one of two shards goes, after units have moved both ways.
func TestShardDiskLost(t *testing.T) {
	t.Parallel()
	d := newDrill(t, programs.FleetSpec{Shards: 2}, "")
	sorted := d.byShard(t, d.fresh)
	d.fresh = append(append(append([]crowd.Buyer(nil), sorted["s2"][:130]...), sorted["s1"]...), sorted["s2"][130:]...)
	d.buy(130) // all of them at s2, which borrows
	d.cancel(20)
	d.buy(60) // all of them at s1
	d.settled(t, drillSale)
	if f := d.show(t, drillSale).Counter; len(f.Shards) != 2 || f.Shards[1].Taken == 0 {
		t.Fatalf("the second shard borrowed nothing: %+v", f)
	}
	d.loseCounter(1)
	d.fleet.StartCounter(1)
	waitFor(t, patience, "the audit says that a shard lost it", func() bool {
		r := d.cli("audit")
		return r.Code == 1 && strings.Contains(r.Stdout, "but the counter does not know it")
	})
	d.repairs("restore_shard: sale drill on shard s2")
	f := d.show(t, drillSale).Counter
	if f.InTransfer != 0 || f.Stock != drillStock || f.Available != int64(drillStock-len(d.orders)) || f.Debt != 0 {
		t.Errorf("after the repair: %+v", f)
	}
	d.finish(true)
}

// TestOldLedger: the ledger is restored from a backup that lacks the last orders, the end of others, and
// a change of the sale.
func TestOldLedgerRestored(t *testing.T) {
	t.Parallel()
	onParts(t, 1, func(t *testing.T, d *drill, dsn string) {
		d.buy(60)
		d.settled(t, drillSale)
		back := d.backUpLedger(dsn)
		d.cancel(10)
		d.buy(50)
		d.must(t, "sale", "pause", drillSale)
		d.settled(t, drillSale)

		d.fleet.Interceptor.Kill()
		d.fleet.Backend.Kill()
		d.fleet.Consumer.Kill()
		back()
		d.fleet.StartBackend(0)
		waitFor(t, patience, "the audit says what is lost", func() bool {
			r := d.cli("audit")
			return r.Code != 0 && strings.Contains(r.Stdout, "has it as released")
		})
		d.flags = []string{"--payments"}
		d.repairs("adopt_sale: sale drill", "free_order: sale drill", "write_order: sale drill: 50 orders (50 units)")
		d.fleet.StartConsumer(0)
		d.fleet.StartInterceptor()
		d.finish(true)
	})
}

// backUpLedger takes a backup of the running ledger, and gives what restores it.
func (d *drill) backUpLedger(dsn string) (restore func()) {
	t := d.t
	t.Helper()
	file := filepath.Join(t.TempDir(), "ledger.backup")
	if dsn == "" {
		db, err := sql.Open("sqlite", d.fleet.LedgerFile)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // the backup is checked by what follows
		if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", file); err != nil {
			t.Fatal(err)
		}
		return func() {
			for _, old := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(d.fleet.LedgerFile + old); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			if err := os.Rename(file, d.fleet.LedgerFile); err != nil {
				t.Fatal(err)
			}
			book, err := ledger.OpenSQLite(d.fleet.LedgerFile)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = book.Close() })
			d.ledger = book
		}
	}
	run := func(stdin, stdout *os.File, program string, more ...string) {
		t.Helper()
		address, database, user := splitDSN(t, dsn)
		host, port, _ := strings.Cut(address, ":")
		args := append([]string{"--no-defaults", "--protocol=tcp", "--host=" + host, "--port=" + port, "--user=" + user}, more...)
		cmd := exec.CommandContext(t.Context(), needProgram(t, program), append(args, database)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, t.Output()
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", program, err)
		}
	}
	dump, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	run(nil, dump, "mysqldump", "--single-transaction")
	return func() {
		defer dump.Close() //nolint:errcheck // read to its end
		if _, err := dump.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		run(dump, nil, "mysql")
	}
}

// splitDSN takes user@tcp(address)/database apart.
func splitDSN(t *testing.T, dsn string) (address, database, user string) {
	t.Helper()
	user, rest, ok := strings.Cut(dsn, "@tcp(")
	address, database, ok2 := strings.Cut(rest, ")/")
	if !ok || !ok2 {
		t.Fatalf("DSN %q", dsn)
	}
	user, _, _ = strings.Cut(user, ":")
	database, _, _ = strings.Cut(database, "?")
	return address, database, user
}

// TestOldCounterRestored: the counter is restored from a backup that is older than the last orders.
func TestOldCounterRestored(t *testing.T) {
	t.Parallel()
	d := newDrill(t, programs.FleetSpec{}, "")
	d.buy(50)
	file := filepath.Join(t.TempDir(), "s1.backup")
	d.must(t, "counter", "backup", "--shard", "s1", "--out", file)
	d.cancel(10)
	d.buy(60)
	d.settled(t, drillSale)
	d.loseCounter(0)
	r := programs.Run(t, bin.Path("headgate"), "counter", "restore", "--in", file, "--data-dir", d.fleet.CounterFolder(0))
	if r.Code != 0 || !strings.Contains(r.Stdout, "until SALE.RESTORE rebuilds them from the ledger: sales drill") {
		t.Fatalf("restore: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	d.fleet.StartCounter(0)
	d.repairs("restore_shard: sale drill on shard s1")
	d.finish(true)
}
