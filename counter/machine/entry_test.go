package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

// everyCommand is an entry with one command of each kind and every field set.
func everyCommand() Entry {
	tm := terms("a", 9, 2)
	tm.EndsAt = start + 99
	tm.Releases = []sale.Release{{At: start + 9, Units: 2}}
	return Entry{Wall: start, Served: 12345, Commands: []Command{
		{Kind: Reserve, Sale: "a", User: "u1", Quantity: 2, Key: "k"},
		{Kind: Confirm, Order: soldID(1, 1)},
		{Kind: Abort, Order: soldID(1, 1), Reason: "no"},
		{Kind: Release, Order: soldID(1, 1), Reason: "no"},
		{Kind: OpenSale, Terms: tm},
		{Kind: PauseSale, Sale: "a", Revision: 2},
		{Kind: ResumeSale, Sale: "a", Revision: 3},
		{Kind: CloseSale, Sale: "a", Revision: 4},
		{Kind: ForgetSale, Sale: "a", Revision: 5},
		{Kind: SetStock, Sale: "a", Revision: 6, Total: 7},
		{Kind: RestoreSale, Restore: &Restore{
			Terms: *tm, Revision: 8, Paused: true, Closed: true, IDFloor: soldID(0, 9), Part: 1, Parts: 2,
			Sold: []SoldOrder{{Order: soldID(2, 2), User: "u2", Quantity: 1, Slot: 3, Key: "q"}},
		}},
		{Kind: Ban, Rule: RuleAddress, Value: "192.0.2.1", Until: start + 1, Reason: "r"},
		{Kind: Unban, Rule: RuleUser, Value: "u1"},
		{Kind: Revoke, User: "u1", Before: start},
	}}
}

// everyCommandNow is everyCommand with what version 2 added.
func everyCommandNow() Entry {
	e := everyCommand()
	both := []string{"s1", "s2"}
	open, restore := *e.Commands[4].Terms, *e.Commands[10].Restore
	open.ID, open.Shards = "m", both
	restore.Terms.ID, restore.Terms.Shards = "n", both
	restore.Transfers = []RestoredTransfer{{Peer: "s2", Given: 4, Taken: 6}}
	restore.Part, restore.Parts = 1, 1
	restore.Sold = []SoldOrder{{Order: soldID(3, 2), User: "u2", Quantity: 1, Slot: 3, Key: "q"}}
	e.Commands = append(e.Commands,
		Command{Kind: Ask, Sale: "m", Value: "s2", Total: 0, Quantity: 3, ForDebt: true},
		Command{Kind: Accept, Sale: "m", Value: "s2", Total: 8},
		Command{Kind: OpenSale, Terms: &open}, Command{Kind: RestoreSale, Restore: &restore})
	return e
}

func TestEntryEncoding(t *testing.T) {
	e := everyCommandNow()
	if int(Accept)+2 != len(e.Commands) || len(kindNames) != int(Accept)+1 {
		t.Fatal("a kind is missing here")
	}
	b := e.Append([]byte("before"))[len("before"):]
	got, err := DecodeEntry(b)
	e.Version = 2 // the lowest that suffices
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Fatalf("decoded %+v, %v\nwant %+v", got, err, e)
	}
	tick := Entry{Wall: -1, Served: 5, Version: 1}
	if got, err := DecodeEntry(tick.Append(nil)); err != nil || !reflect.DeepEqual(got, tick) {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

// reseal gives damaged content a fitting checksum, so that the checks behind it are reached.
func reseal(b []byte) []byte {
	body := b[:max(0, len(b)-4)]
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), checksum(body))
}

func TestEntryDamaged(t *testing.T) {
	e := everyCommandNow()
	good := e.Append(nil)
	for i := range good {
		if _, err := DecodeEntry(good[:i]); err == nil || !strings.Contains(err.Error(), "offset") {
			t.Fatalf("cut off at %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := DecodeEntry(bad); err == nil {
			t.Fatalf("a flipped bit at %d is taken", i)
		}
		if _, err := DecodeEntry(reseal(append(bytes.Clone(good[:i]), 1, 2, 3, 4))); err == nil && i < len(good)-4 {
			t.Fatalf("resealed at %d is taken", i)
		}
	}
	later := append([]byte{EntryVersion + 1}, good[1:]...)
	if _, err := DecodeEntry(reseal(later)); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "offset 0: format version 4") {
		t.Errorf("a later version: %v", err)
	}
	long := reseal(append(bytes.Clone(good[:len(good)-4]), 0, 0, 0, 0, 0))
	if _, err := DecodeEntry(long); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("bytes behind the end: %v", err)
	}
}

// TestEntryClaims: a claimed gigabyte allocates nothing.
func TestEntryClaims(t *testing.T) {
	claim := func(parts ...[]byte) []byte {
		return reseal(append(bytes.Join(parts, nil), 0, 0, 0, 0))
	}
	head := appendInts([]byte{EntryVersion}, 1, 1)
	huge := binary.AppendUvarint(nil, 1<<30)
	for what, b := range map[string][]byte{
		"commands":                             claim(head, huge),
		"string":                               claim(head, []byte{1, byte(Reserve)}, huge, []byte("abc")),
		"within the bound, more than there is": claim(head, binary.AppendUvarint(nil, MaxCommands), []byte{2, 2, 2}),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeEntry(b)
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if err == nil || allocated > 64<<10 {
			t.Errorf("%s: %d bytes allocated, %v", what, allocated, err)
		}
	}
	if _, err := DecodeEntry(make([]byte, MaxEntryBytes+1)); err == nil {
		t.Error("an entry beyond its bound is taken")
	}
}

// FuzzDecodeEntry: whatever decodes encodes back to an entry of the same meaning, and can be applied.
func FuzzDecodeEntry(f *testing.F) {
	e := everyCommandNow()
	f.Add(e.Append(nil))
	old := everyCommand()
	f.Add(old.Append(nil))
	short := Entry{Version: 3, Wall: start, Commands: []Command{e.Commands[0], e.Commands[1], e.Commands[0]}}
	f.Add(short.Append(nil))
	for i := range e.Commands {
		one := Entry{Wall: start, Served: int64(i), Commands: e.Commands[i : i+1]}
		f.Add(one.Append(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{EntryVersionMin, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, reseal(b)} {
			e, err := DecodeEntry(b)
			if err != nil {
				continue
			}
			again, err := DecodeEntry(e.Append(nil))
			if err != nil || !reflect.DeepEqual(again.Append(nil), e.Append(nil)) {
				t.Fatalf("encoded again: %v", err)
			}
			s, other := New(testOptions), New(testOptions)
			want := s.Apply(&e, nil)
			var got []Result
			if err := other.ApplyEncoded(b, func(r []Result) { got = append(got, r...) }); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("applied as it is: %+v (%v), want %+v", got, err, want)
			}
			s.Apply(&e, nil)
			if err := s.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
			readState(t, snapshotOf(t, s))
		}
	})
}
