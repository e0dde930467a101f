package machine

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"headgate.example/lib/sale"
)

// TestMain makes the properties try more than rapid's default, unless the command line says how often.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked && !testing.Short() {
		if err := flag.Set("rapid.checks", "500"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// shard drives a State by hand: wall and served move together unless a test moves one.
type shard struct {
	t            testing.TB
	s            *State
	wall, served int64
}

func newShard(t testing.TB) *shard {
	return &shard{t: t, s: New(testOptions), wall: start}
}

// do applies one command in an entry of its own and checks the invariants.
func (sh *shard) do(c Command) Result {
	sh.t.Helper()
	r := sh.s.Apply(&Entry{Wall: sh.wall, Served: sh.served, Commands: []Command{c}}, nil)[0]
	if err := sh.s.CheckInvariants(); err != nil {
		sh.t.Fatalf("after %s: %v", c.Kind, err)
	}
	return r
}

// pass lets time go by, with an entry at its end.
func (sh *shard) pass(millis int64) {
	sh.wall += millis
	sh.served += millis
	sh.s.Apply(&Entry{Wall: sh.wall, Served: sh.served}, nil)
}

func (sh *shard) want(c Command, code Code) Result {
	sh.t.Helper()
	r := sh.do(c)
	if r.Code != code {
		sh.t.Fatalf("%s answered %s, want %s: %+v", c.Kind, r.Code, code, r)
	}
	return r
}

func (sh *shard) reserve(saleID, user, key string, quantity int64) Result {
	sh.t.Helper()
	return sh.do(Command{Kind: Reserve, Sale: saleID, User: user, Key: key, Quantity: quantity})
}

// sold reserves and confirms.
func (sh *shard) sold(saleID, user, key string, quantity int64) sale.OrderID {
	sh.t.Helper()
	r := sh.reserve(saleID, user, key, quantity)
	if r.Code != CodeReserved {
		sh.t.Fatalf("reserving for %s: %+v", user, r)
	}
	sh.want(Command{Kind: Confirm, Order: r.Order}, CodeConfirmed)
	return r.Order
}

func (sh *shard) info(saleID string) sale.Info {
	info, ok := sh.s.Info(saleID, sh.wall)
	if !ok {
		sh.t.Fatalf("sale %s is unknown", saleID)
	}
	return info
}

func terms(id string, stock, limit int64) *sale.Terms {
	return &sale.Terms{
		ID: id, Revision: 1, Stock: stock, Limit: limit, OpensAt: start, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 71, Replicas: 20, Load: 1.25},
	}
}

// open opens and resumes a sale.
func (sh *shard) open(t *sale.Terms) {
	sh.t.Helper()
	sh.want(Command{Kind: OpenSale, Terms: t}, CodeOK)
	sh.want(Command{Kind: ResumeSale, Sale: t.ID, Revision: 2}, CodeOK)
}

func (sh *shard) reopen() {
	sh.t.Helper()
	s, err := Read(bytes.NewReader(snapshotOf(sh.t, sh.s)), testOptions)
	if err != nil {
		sh.t.Fatal(err)
	}
	sh.s = s
}
