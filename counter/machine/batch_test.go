package machine

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

// What is gathered encoded makes the same entry as the commands themselves, and is read as the same.
func TestEncodedIsTheSameEntry(t *testing.T) {
	id := sale.MakeOrderID(1000, 1, 2)
	commands := []Command{
		{Kind: Reserve, Sale: "1", User: "u1", Quantity: 2, Key: "k"},
		{Kind: Confirm, Order: id},
		{Kind: Abort, Order: id, Reason: "changed my mind"},
		{Kind: Release, Order: id, Reason: "refund"},
		{Kind: PauseSale, Sale: "1", Revision: 3},
		{Kind: Revoke, User: "u2", Before: 7},
	}
	var parts [2]Encoded
	for i := range commands {
		parts[min(i, 3)/3].Add(&commands[i])
	}
	whole := Entry{Version: EntryVersionMin, Wall: 5, Served: 6, Commands: commands}
	want := whole.Append([]byte("before"))
	got := AppendEntry([]byte("before"), 5, 6, &parts[0], &parts[1])
	if !bytes.Equal(got, want) {
		t.Fatalf("the entries differ:\n%x\n%x", got, want)
	}
	if n := parts[0].Len() + parts[1].Len(); n != len(commands) {
		t.Errorf("%d commands were counted", n)
	}
	if read, err := DecodeEntry(want[len("before"):]); err != nil || !reflect.DeepEqual(read, whole) {
		t.Errorf("read again: %+v, %v", read, err)
	}
	parts[0].Reset(0)
	if parts[0].Len() != 0 || parts[0].Size() != 0 {
		t.Error("reset leaves something")
	}
}

// AppendEntry must give what Entry.Append gives, in the lowest version that suffices.
func TestAppendEntry(t *testing.T) {
	e := everyCommandNow()
	all := e.Commands
	for i := range all {
		first := all[(i+1)%len(all)]
		e := Entry{Wall: start, Served: 7, Commands: []Command{first, all[i]}}
		var a, b Encoded
		a.Add(&first)
		b.Add(&all[i])
		got, want := AppendEntry([]byte("x"), e.Wall, e.Served, &a, &b), e.Append([]byte("x"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s and %s: %x, want %x", first.Kind, all[i].Kind, got, want)
		}
		if version := int(got[1]); version != max(first.version(), all[i].version()) {
			t.Errorf("%s and %s: version %d", first.Kind, all[i].Kind, version)
		}
		if back := b.Commands(); len(back) != 1 || !reflect.DeepEqual(back[0], all[i]) {
			t.Errorf("decoded %+v, want %+v", back, all[i])
		}
		if b.Reset(1 << 20); b.Len() != 0 || b.Size() != 0 || AppendEntry(nil, 1, 1, &b)[0] != EntryVersionMin {
			t.Errorf("%s is left after Reset", all[i].Kind)
		}
	}
}

// ApplyEncoded does what DecodeEntry and Apply do, with and without results, whatever the number of commands.
func TestApplyEncoded(t *testing.T) {
	every := everyCommandNow()
	for _, n := range []int{0, 1, lookahead - 1, lookahead, lookahead + 1, 3*lookahead + 5} {
		e := Entry{Wall: start, Served: 5}
		for i := range n {
			e.Commands = append(e.Commands, every.Commands[i%len(every.Commands)])
		}
		b := e.Append(nil)
		decoded, err := DecodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		plain, asked, silent := New(testOptions), New(testOptions), New(testOptions)
		want := plain.Apply(&decoded, nil)
		var got []Result
		if err := asked.ApplyEncoded(b, func(r []Result) { got = append(got, r...) }); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d commands: %+v (%v), want %+v", n, got, err, want)
		}
		if err := silent.ApplyEncoded(b, nil); err != nil {
			t.Errorf("%d commands: %v", n, err)
		}
		for _, s := range []*State{asked, silent} {
			if !bytes.Equal(snapshotOf(t, s), snapshotOf(t, plain)) {
				t.Errorf("%d commands lead to different states", n)
			}
		}
		for i := range b {
			damaged := bytes.Clone(b)
			damaged[i] ^= 0x40
			s := New(testOptions)
			if err := s.ApplyEncoded(damaged, nil); err == nil || !strings.Contains(err.Error(), "offset") {
				t.Fatalf("%d commands, byte %d is wrong: %v", n, i, err)
			}
			if i%7 == 0 && !bytes.Equal(snapshotOf(t, s), snapshotOf(t, New(testOptions))) {
				t.Fatalf("%d commands, byte %d is wrong, and something was applied", n, i)
			}
		}
	}
}

// State keeps no text that lies in an entry.
func TestStateKeepsNothingOfAnEntry(t *testing.T) {
	s := New(Options{Shard: "s1"})
	terms := sale.Terms{ID: "1", Revision: 1, Stock: 10, OpensAt: 1, HoldForMillis: 1000, RetainForMillis: 2000, Shards: []string{"s1"},
		Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05}}
	open := Entry{Wall: 10, Commands: []Command{{Kind: OpenSale, Terms: &terms}, {Kind: ResumeSale, Sale: "1", Revision: 2}}}
	s.Apply(&open, nil)
	apply := func(c Command) Result {
		entry := (&Entry{Wall: 10, Commands: []Command{c}}).Append(nil)
		var results []Result
		if err := s.ApplyEncoded(entry, func(r []Result) { results = append(results, r...) }); err != nil {
			t.Fatal(err)
		}
		for i := range entry { // a State that kept text would see this
			entry[i] = '#'
		}
		return results[0]
	}
	held := apply(Command{Kind: Reserve, Sale: "1", User: "somebody", Quantity: 1, Key: "a-key"})
	apply(Command{Kind: Abort, Order: held.Order, Reason: "a reason"})
	got, ok := s.Order(held.Order)
	if !ok || got.User != "somebody" || got.Key != "a-key" || got.Reason != "a reason" || got.Sale != "1" {
		t.Errorf("%+v, %v", got, ok)
	}
	if orders, _ := s.UserOrders("1", "somebody"); len(orders) != 1 {
		t.Errorf("the user has %d orders", len(orders))
	}
}
