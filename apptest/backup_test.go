package apptest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"headgate.example/apptest/programs"
	"headgate.example/apptest/voters"
)

// TestBackupAndRestoreOfThreeVoters does what the README tells an operator to do: a backup of a running
// shard, and, after all its disks are lost, a restore for all three voters. What was sold after the backup
// comes from the ledger.
func TestBackupAndRestoreOfThreeVoters(t *testing.T) {
	shard := startShard(t)
	headgate := counterCommands(t, shard)
	if err := shard.OpenSale(deadline(t, patience), "b", 200, 1); err != nil {
		t.Fatal(err)
	}
	b := &bookkeeper{t: t, shard: shard, sale: "b"}
	b.buy(60)
	file := filepath.Join(t.TempDir(), "s1.backup")
	if r := headgate("backup", "--shard", "s1", "--out", file); r.Code != 0 || !strings.Contains(r.Stdout, "found whole") {
		t.Fatalf("backup: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	b.buy(40)
	for _, v := range shard.Voters {
		v.Kill()
		if err := os.RemoveAll(v.Folder()); err != nil {
			t.Fatal(err)
		}
	}

	first := shard.Voters[0]
	restore := func() programs.Result {
		return programs.Run(t, bin.Path("headgate"), "counter", "restore", "--in", file, "--data-dir", first.Folder(), "--config", first.Config(), "--id-floor", b.highest())
	}
	if r := restore(); r.Code == 0 || !strings.Contains(r.Stderr, "start all other voters first") {
		t.Fatalf("without the other voters, one of which might have a log: exit %d, %s", r.Code, r.Stderr)
	}
	for _, v := range shard.Voters[1:] {
		if err := v.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if r := restore(); r.Code != 0 || !strings.Contains(r.Stdout, "until SALE.RESTORE rebuilds them from the ledger: sales b") {
		t.Fatalf("restore: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := restore(); r.Code == 0 || !strings.Contains(r.Stderr, "is not empty") {
		t.Errorf("restoring twice: exit %d, %s", r.Code, r.Stderr)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if err := shard.Whole(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}

	// It stands still, as it was.
	if f := b.audit(); f["from_backup"] != "1" || f["confirmed"] != "60" || f["violation"] != "" {
		t.Errorf("after the restore: %v", f)
	}
	if reply, err := shard.Do(deadline(t, patience), "RESERVE", "b", "somebody", "1", ""); err != nil || fmt.Sprint(reply) != "[paused 0]" {
		t.Errorf("RESERVE: %v, %v", reply, err)
	}
	if _, err := shard.Do(deadline(t, patience), "SALE.RESUME", "b", "3"); err == nil || !strings.Contains(err.Error(), "SALE.RESTORE") {
		t.Errorf("SALE.RESUME: %v", err)
	}
	// The ledger knows the rest.
	if _, err := shard.Do(deadline(t, patience), "SALE.RESTORE", b.restoreJSON(200)); err != nil {
		t.Fatal(err)
	}
	if _, err := shard.Do(deadline(t, patience), "SALE.RESUME", "b", "3"); err != nil {
		t.Fatal(err)
	}
	before := b.highest()
	if after := b.buy(10); after <= before && len(after) <= len(before) {
		t.Errorf("order %s was minted after %s", after, before)
	}
	// Every voter has it.
	leader, err := shard.Leader(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	leader.Kill()
	if f := b.audit(); f["from_backup"] != "0" || f["confirmed"] != "110" || f["available"] != "90" || f["violation"] != "" {
		t.Errorf("in the end: %v", f)
	}
}

// bookkeeper buys for one user after the other, and keeps what a ledger would.
type bookkeeper struct {
	t      *testing.T
	shard  *voters.Shard
	sale   string
	orders []string // of u0, u1, ...
}

// buy gives the last order's id.
func (b *bookkeeper) buy(count int) string {
	b.t.Helper()
	ctx := deadline(b.t, patience)
	for range count {
		reply, err := b.shard.Do(ctx, "RESERVE", b.sale, "u"+strconv.Itoa(len(b.orders)), "1", "")
		if err != nil || !strings.HasPrefix(fmt.Sprint(reply), "[reserved ") {
			b.t.Fatalf("RESERVE: %v, %v", reply, err)
		}
		order, _ := reply.([]any)[1].(string)
		if reply, err := b.shard.Do(ctx, "CONFIRM", order); err != nil || fmt.Sprint(reply) != "[confirmed]" {
			b.t.Fatalf("CONFIRM %s: %v, %v", order, reply, err)
		}
		b.orders = append(b.orders, order)
	}
	return b.highest()
}

func (b *bookkeeper) highest() string { return b.orders[len(b.orders)-1] }

func (b *bookkeeper) audit() map[string]string {
	b.t.Helper()
	reply, err := b.shard.Do(deadline(b.t, patience), "AUDIT", b.sale)
	if err != nil {
		b.t.Fatal(err)
	}
	return voters.Fields(reply)
}

// restoreJSON is what a ledger would send.
func (b *bookkeeper) restoreJSON(stock int) string {
	var rows []string
	for i, order := range b.orders {
		rows = append(rows, fmt.Sprintf(`{"order":%q,"user":"u%d","quantity":1,"slot":1}`, order, i))
	}
	return fmt.Sprintf(`{"terms":%s,"revision":2,"sold":[%s]}`, b.shard.Terms(b.sale, stock, 1), strings.Join(rows, ","))
}
