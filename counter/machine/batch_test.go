package machine

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

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
		parts[min(i, 3)/3].Add(&commands[i], 2)
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
		a.Add(&first, 2)
		b.Add(&all[i], 2)
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

// In version 3 a reservation leaves out the sale that the one before it names, within what one caller gathered. It is
// read as the same commands, whatever the other parts of the entry are.
func TestReservationsWithoutTheirSale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var commands []Command
		var parts []*Encoded
		short, long := EntryVersionMin, 0
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			part, newest, before := new(Encoded), rapid.IntRange(2, 3).Draw(t, "newest"), ""
			for range rapid.IntRange(0, 6).Draw(t, "commands") {
				c := Command{
					Kind: Reserve, Sale: rapid.SampledFrom([]string{"a", "b", "a-longer-name"}).Draw(t, "sale"),
					User: rapid.StringMatching("[!-~]{1,64}").Draw(t, "user"), Quantity: 2, Key: rapid.SampledFrom([]string{"", "k"}).Draw(t, "key"),
				}
				if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
					c = Command{Kind: Confirm, Order: soldID(1, 1)}
				}
				was := part.Size()
				part.Add(&c, newest)
				alone := new(Encoded)
				alone.Add(&c, newest)
				saved := 0
				if c.Kind == Reserve {
					if newest == 3 && c.Sale == before {
						saved, short = 1+len(c.Sale), 3
					}
					before = c.Sale
				}
				if part.Size()-was != alone.Size()-saved {
					t.Fatalf("%+v takes %d bytes, alone %d", c, part.Size()-was, alone.Size())
				}
				commands = append(commands, c)
			}
			if read := part.Commands(); len(read) != part.Len() || !reflect.DeepEqual(read, commands[long:]) && len(read) > 0 {
				t.Fatalf("a part reads %+v, want %+v", read, commands[long:])
			}
			long = len(commands)
			parts = append(parts, part)
		}
		b := AppendEntry(nil, start, 1, parts...)
		e, err := DecodeEntry(b)
		if err != nil || e.Version != short || len(e.Commands) != len(commands) || len(commands) > 0 && !reflect.DeepEqual(e.Commands, commands) {
			t.Fatalf("version %d (%v) reads %+v, want version %d: %+v", e.Version, err, e.Commands, short, commands)
		}
		plain := Entry{Wall: start, Served: 1, Commands: commands}
		one, other := New(testOptions), New(testOptions)
		want := one.Apply(&plain, nil)
		var got []Result
		if err := other.ApplyEncoded(b, func(r []Result) { got = append(got, r...) }); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("applied: %+v (%v), want %+v", got, err, want)
		}
		plain.Version = 3
		if again, err := DecodeEntry(plain.Append(nil)); err != nil || len(commands) > 0 && !reflect.DeepEqual(again.Commands, commands) {
			t.Fatalf("Append in version 3 reads %+v (%v), want %+v", again.Commands, err, commands)
		}
	})
}

// What is left out must have been there, in the same entry and in a version that knows of it.
func TestReservationWithoutAnySale(t *testing.T) {
	c := Command{Kind: Reserve, User: "u1", Quantity: 1, Sale: "a"}
	again := c.appendAgain(nil)
	for what, test := range map[string]struct {
		version int
		before  []Command
		want    string
	}{
		"in an older version": {2, []Command{c}, "kind 17 is not known to format version 2"},
		"nothing before it":   {3, nil, "command 0: offset"},
		"only other commands": {3, []Command{{Kind: Revoke, User: "u1", Before: 1}}, "command 1: offset"},
	} {
		e := Entry{Version: test.version, Wall: 1, Commands: append(test.before, c)}
		b := e.Append(nil)
		b = append(b[:len(b)-4-len(c.append(nil, 1))], again...)
		b = reseal(append(b, 0, 0, 0, 0))
		if _, err := DecodeEntry(b); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
		if err := New(testOptions).ApplyEncoded(b, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, applied: %v", what, err)
		}
	}
	var e Encoded
	e.Add(&Command{Kind: Reserve, User: "u1"}, 3) // not valid, but it must not spoil an entry
	if got := e.Commands(); len(got) != 1 || got[0].Sale != "" {
		t.Errorf("without a sale: %+v", got)
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
