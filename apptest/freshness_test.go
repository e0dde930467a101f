package apptest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// The rounds of each change, and how soon an edge must have seen it: it asks every 200 ms, and a change comes right after it
// has asked. The machine that runs the test does other things, too: three rounds of eight have to be as quick as that.
const (
	freshRounds = 8
	freshQuick  = 3
	freshSoon   = 250 * time.Millisecond
	freshMost   = 10 * time.Second
)

// TestChangesAreSeen measures how long an edge goes on refusing by itself after the counter has put a
// sale on again, or sells on to somebody who was banned. Everything that it refuses meanwhile costs
// neither counter nor shop anything.
func TestChangesAreSeen(t *testing.T) {
	o := startOwnShop(t, func(c *programs.Config) { c.Set("log_refusals_per_second", 0) })
	o.openSale("s", freshRounds+100, time.Now()) // younger than the edge, which therefore knows whose orders were taken
	waitFor(t, patience, "the edge knows of the sale", func() bool { return o.press("s", "first", "").status == http.StatusOK })
	revision := 2
	change := func(args ...string) {
		t.Helper()
		revision++
		o.operator(append([]string{args[0], "s", strconv.Itoa(revision)}, args[1:]...)...)
	}
	sold := func() int {
		n, err := strconv.Atoi(o.figure("s", "confirmed"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	o.measure("paused -> on sale", "paused", func() { change("SALE.PAUSE") }, func() { change("SALE.RESUME") })
	o.measure("sold out -> stock returns", "sold_out",
		func() { change("SALE.PAUSE"); change("SALE.STOCK", strconv.Itoa(sold())); change("SALE.RESUME") },
		func() { change("SALE.PAUSE"); change("SALE.STOCK", strconv.Itoa(sold()+1)); change("SALE.RESUME") })
	o.measureOpening()
	o.measureBans()
}

// nobodyYet numbers buyers: each presses once.
func (o *ownShop) nobodyYet() string {
	o.sales++
	return fmt.Sprintf("n%d", o.sales)
}

// measure brings the sale into a state and out of it again, and says how long the edge went on refusing.
func (o *ownShop) measure(what, code string, into, outOf func()) {
	o.t.Helper()
	var took []time.Duration
	asked, all := 0, 0
	for range freshRounds {
		into()
		waitFor(o.t, patience, "the edge refuses "+code, func() bool { return o.refusesItself("s", code) })
		before, refused := o.reserves(), 0
		outOf()
		changed := time.Now()
		for {
			r := o.press("s", o.nobodyYet(), "")
			if r.status == http.StatusOK {
				break
			}
			if refused++; r.code() != code && r.code() != "paused" {
				o.t.Fatalf("%s: %d %q %s", what, r.status, r.code(), r.text)
			}
			if time.Since(changed) > freshMost {
				o.t.Fatalf("%s: still refused: %s", what, r.text)
			}
		}
		took = append(took, time.Since(changed))
		asked, all = asked+o.reserves()-before-1, all+refused
	}
	if asked > all/10 {
		o.t.Errorf("%s: %d of %d refusals were asked of the counter", what, asked, all)
	}
	o.judge(what, took)
}

// refusesItself reports whether the edge refuses a press without asking the counter.
func (o *ownShop) refusesItself(sale, code string) bool {
	o.t.Helper()
	before := o.reserves()
	return o.press(sale, o.nobodyYet(), "").code() == code && o.reserves() == before
}

// measureOpening lets sales open, and says how long after their moment the first unit was sold.
func (o *ownShop) measureOpening() {
	o.t.Helper()
	var took []time.Duration
	lead := 500 * time.Millisecond
	for i := 0; len(took) < freshRounds; i++ {
		sale, opens := fmt.Sprintf("o%d", i), time.Now().Add(lead)
		o.openSale(sale, 5, opens)
		known := false
		waitFor(o.t, patience, "the edge knows of the sale, or it is open", func() bool {
			known = o.refusesItself(sale, "not_open")
			return known || !time.Now().Before(opens)
		})
		if !known { // the machine took its time: that says nothing
			lead = min(2*lead, patience/2)
			continue
		}
		r := o.press(sale, o.nobodyYet(), "")
		for ; r.code() == "not_open"; r = o.press(sale, o.nobodyYet(), "") {
		}
		late := time.Since(opens)
		if late < -10*time.Millisecond { // both clocks are this machine's
			o.t.Errorf("sold %s before it opened", -late)
		}
		took = append(took, max(late, 0))
		o.buys(r)
	}
	o.judge("opening", took)
}

// measureBans bans buyers, and says how long they were served on.
func (o *ownShop) measureBans() {
	o.t.Helper()
	var took []time.Duration
	for range freshRounds {
		user := o.nobodyYet()
		o.operator("BAN", "user", user, "0", "resells")
		banned := time.Now()
		waitUntil := banned.Add(freshMost)
		for o.post("http://"+o.edge+"/shop/orders/1/cancel", "", "Authorization", "Bearer "+ownToken(user)).code() != "blacklisted" {
			if time.Now().After(waitUntil) {
				o.t.Fatal("never refused")
			}
		}
		took = append(took, time.Since(banned))
	}
	o.judge("ban", took)
}

func (o *ownShop) judge(what string, took []time.Duration) {
	o.t.Helper()
	slices.Sort(took)
	median, most := took[len(took)/2], took[len(took)-1]
	o.t.Logf("%s: seen after %s (median of %d), %s at most", what, median.Round(time.Millisecond), len(took), most.Round(time.Millisecond))
	if took[freshQuick-1] > freshSoon || most > freshMost {
		o.t.Errorf("%s: seen after %v; want %d of them within %s, and all within %s", what, took, freshQuick, freshSoon, freshMost)
	}
}

// reserves is how many purchases the edge has put to the counter.
func (o *ownShop) reserves() int {
	o.t.Helper()
	return metric(o.t, "http://"+o.admin+"/metrics", `^headgate_interceptor_purchase_seconds_count (\d+)$`)
}
