//go:build unix

package apptest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
	"headgate.example/apptest/services"
	"headgate.example/apptest/wire"
)

// The crowd of each round.
const (
	faultBuyers = 500
	faultStock  = 200
	cutFor      = 700 * time.Millisecond
	alarmFor    = 1200 * time.Millisecond // longer than messages wait for a broker that takes none
)

// faulty is a whole system on a broker and a database of its own, with two backends and two consumers,
// and our wire between consumers and database.
type faulty struct {
	*market
	fleet  *programs.Fleet
	set    *services.Set
	wire   *wire.Wire
	random *rand.Rand
	sprung <-chan struct{} // of setTrap
}

// TestFaults breaks one part after the other at random moments under load, and after each round compares
// every answer that buyers got with the ledger, and counter, queue and ledger with each other: nothing
// lost after 202, nothing sold twice, no unit stuck. HEADGATE_FAULT_ROUNDS sets the rounds of each kind, HEADGATE_FAULT_KINDS
// the kinds, by their names with commas between them (default: all); the seed is printed, HEADGATE_FAULT_SEED repeats it.
func TestFaults(t *testing.T) {
	t.Parallel()
	rounds := int(envNumber(t, "HEADGATE_FAULT_ROUNDS", 2))
	seed := envNumber(t, "HEADGATE_FAULT_SEED", time.Now().UnixNano())
	t.Logf("HEADGATE_FAULT_SEED=%d HEADGATE_FAULT_ROUNDS=%d", seed, rounds)
	f := newFaulty(t, rand.New(rand.NewPCG(uint64(seed), 0)))
	buyers, newcomers := f.buyers(t, faultBuyers, "f"), f.buyers(t, 30, "n")
	kinds := []struct {
		name   string
		before func(*testing.T) // when the sale is open
		fault  func(*testing.T) // while buyers press
		after  func(*testing.T, string, []crowd.Buyer, *crowd.Report)
	}{
		{name: "consumer", fault: f.killConsumer},
		{name: "stop", fault: f.stopConsumer},
		{name: "backend", fault: f.killBackend},
		{name: "cut", fault: f.cutDatabase},
		{name: "commit", before: f.setTrap, fault: f.restartInCommit},
		{name: "database", fault: f.killDatabase},
		{name: "alarm", before: f.raiseAlarm, fault: f.endAlarm, after: toldOverloaded},
		{name: "repeats", fault: f.killConsumer, after: f.repeat},
		{name: "broker", fault: f.killBroker},
	}
	asked := os.Getenv("HEADGATE_FAULT_KINDS")
	ran := ""
	for _, kind := range kinds {
		if asked != "" && !slices.Contains(strings.Split(asked, ","), kind.name) {
			continue
		}
		ran = cmp.Or(ran, kind.name)
		for round := range rounds {
			began := time.Now()
			sale := fmt.Sprintf("%s%d", kind.name, round)
			tr := trouble{sale: sale, stock: faultStock, moments: []int64{1 + f.random.Int64N(faultBuyers/2)}, fault: func() { kind.fault(t) }}
			if kind.before != nil {
				tr.before = func() { kind.before(t) }
			}
			if kind.after != nil {
				tr.after = func(r *crowd.Report) { kind.after(t, sale, buyers, r) }
			}
			pressThrough(t, f.market, tr, buyers, newcomers)
			t.Logf("%s: %s", sale, time.Since(began).Round(time.Millisecond))
			if t.Failed() {
				t.Fatalf("stopped after %s; repeat with HEADGATE_FAULT_SEED=%d", sale, seed)
			}
		}
	}
	if ran == "" {
		t.Fatalf("HEADGATE_FAULT_KINDS=%s: there is no such kind", asked)
	}
	f.settled(t, ran+"0") // earlier rounds still agree
	f.fleet.Stop()
}

func newFaulty(t *testing.T, random *rand.Rand) *faulty {
	t.Helper()
	set, err := services.Start(t.Context(), services.Options{Only: []string{services.RabbitMQ, services.MariaDB}, Output: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Stop(); err != nil {
			t.Error(err)
		}
	})
	if len(set.Missing) > 0 {
		missing(t, fmt.Sprintf("broker and database to be killed: %v", set.Missing))
	}
	f := &faulty{set: set, random: random}
	if f.wire, err = wire.New(set.MariaDB.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.wire.Close)
	dsn := freshDatabase(t, set.MariaDB.URL())
	through := strings.Replace(dsn, set.MariaDB.Addr(), f.wire.Addr(), 1)
	f.fleet = programs.NewFleet(t, bin, programs.FleetSpec{AMQP: set.RabbitMQ.URL(), MySQL: dsn, Prefix: "faults", Backends: 2, Consumers: 2,
		Edit: func(program string, c *programs.Config) {
			switch {
			case strings.HasPrefix(program, "consumer"):
				c.Set("database.dsn", through)
			case strings.HasPrefix(program, "backend"):
				c.Set("queue.publish_timeout", "2s") // an unknown outcome is known as such sooner
			}
		}})
	book, err := ledger.OpenMySQL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	f.market = &market{edge: f.fleet.Edge, cli: f.fleet.CLI, ledger: book}
	return f
}

func (f *faulty) killConsumer(*testing.T) {
	i := f.random.IntN(2)
	f.fleet.Consumers[i].Kill()
	f.fleet.StartConsumer(i)
}

func (f *faulty) stopConsumer(t *testing.T) {
	i := f.random.IntN(2)
	if code := f.fleet.Consumers[i].Stop(time.Minute); code != 0 {
		t.Errorf("a consumer that was asked to stop ended with exit code %d", code)
	}
	f.fleet.StartConsumer(i)
}

func (f *faulty) killBackend(*testing.T) {
	i := f.random.IntN(2)
	f.fleet.Backends[i].Kill()
	f.fleet.StartBackend(i)
}

func (f *faulty) killBroker(t *testing.T) { f.restart(t, f.set.RabbitMQ) }

func (f *faulty) killDatabase(t *testing.T) { f.restart(t, f.set.MariaDB) }

func (f *faulty) restart(t *testing.T, i *services.Instance) {
	if err := i.Kill(); err != nil {
		t.Error(err)
	}
	if err := i.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

// cutDatabase parts consumers and database for a while.
func (f *faulty) cutDatabase(t *testing.T) {
	f.wire.Refuse()
	pause(t, cutFor)
	f.wire.Heal()
}

// setTrap cuts consumers and database off each other when the COMMIT of a batch of orders has been sent
// and before its answer can come: nobody knows whether it was done.
func (f *faulty) setTrap(*testing.T) {
	f.sprung = f.wire.CutAfter("UPDATE sales SET sold = sold +", "COMMIT")
}

// restartInCommit kills the database at that moment, too.
func (f *faulty) restartInCommit(t *testing.T) {
	select {
	case <-f.sprung:
	case <-time.After(20 * time.Second):
		t.Error("no consumer committed a batch of orders")
	}
	f.killDatabase(t)
	f.wire.Heal()
}

// raiseAlarm lets the broker run out of memory, as it sees it: it takes no messages.
// raiseAlarm waits until the alarm is in force: the broker looks at its memory now and then.
func (f *faulty) raiseAlarm(t *testing.T) {
	f.watermark(t, "0.000001")
	waitFor(t, patience, "the broker has an alarm", func() bool {
		return f.set.RabbitMQ.Control(t.Context(), "eval", "case rabbit_alarm:get_alarms() of [] -> exit(no_alarm); _ -> ok end.") == nil
	})
}

func (f *faulty) endAlarm(t *testing.T) {
	pause(t, alarmFor)
	f.watermark(t, "absolute", "1GB")
}

func (f *faulty) watermark(t *testing.T, mark ...string) {
	if err := f.set.RabbitMQ.Control(t.Context(), append([]string{"set_vm_memory_high_watermark"}, mark...)...); err != nil {
		t.Error(err)
	}
}

// toldOverloaded: during the alarm the edge says so.
func toldOverloaded(t *testing.T, _ string, _ []crowd.Buyer, r *crowd.Report) {
	if counts := r.Counts(); counts["503 overloaded"] == 0 {
		t.Errorf("nobody was told that the queue takes nothing: %v", counts)
	}
}

// repeat delivers every accepted order twice more, in random order.
func (f *faulty) repeat(t *testing.T, sale string, buyers []crowd.Buyer, r *crowd.Report) {
	conn, err := amqp.Dial(f.set.RabbitMQ.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's end
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for _, a := range r.Answers {
		if a.Accepted() {
			message := orderMessage(a.OrderID, sale, buyers[a.Buyer].User)
			messages = append(messages, message, message)
		}
	}
	f.random.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
	for i, message := range messages {
		if i == len(messages)/2 {
			f.killConsumer(t)
		}
		confirm, err := ch.PublishWithDeferredConfirm("faults", "orders", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: message})
		if err != nil || (i == len(messages)-1 && !confirm.Wait()) {
			t.Fatalf("publishing repeats: %v", err)
		}
	}
}

// pause lasts: what is broken stays so for a time.
func pause(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}
