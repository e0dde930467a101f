package machine

import (
	"bytes"
	"reflect"
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
	whole := Entry{Wall: 5, Served: 6, Commands: commands}
	want := whole.Append([]byte("before"))
	got := AppendEntry([]byte("before"), 5, 6, &parts[0], &parts[1])
	if !bytes.Equal(got, want) {
		t.Fatalf("the entries differ:\n%x\n%x", got, want)
	}
	if n := parts[0].Len() + parts[1].Len(); n != len(commands) {
		t.Errorf("%d commands were counted", n)
	}
	entry := want[len("before"):]
	scratch := []Command{{Kind: Ban, Value: "left over", Reason: "left over"}}
	shared, err := DecodeShared(entry, scratch)
	if err != nil || !reflect.DeepEqual(shared, whole) {
		t.Errorf("read in place: %+v, %v", shared, err)
	}
	again, err := DecodeShared(entry, shared.Commands)
	if err != nil || !reflect.DeepEqual(again, whole) || &again.Commands[0] != &shared.Commands[0] {
		t.Errorf("read into used memory: %+v, %v", again, err)
	}
	parts[0].Reset(0)
	if parts[0].Len() != 0 || parts[0].Size() != 0 {
		t.Error("reset leaves something")
	}
}

// State keeps no text that lies in a shared entry.
func TestStateKeepsNothingOfASharedEntry(t *testing.T) {
	s := New(Options{Shard: "s1"})
	terms := sale.Terms{ID: "1", Revision: 1, Stock: 10, OpensAt: 1, HoldForMillis: 1000, RetainForMillis: 2000, Shards: []string{"s1"},
		Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05}}
	open := Entry{Wall: 10, Commands: []Command{{Kind: OpenSale, Terms: &terms}, {Kind: ResumeSale, Sale: "1", Revision: 2}}}
	s.Apply(&open, nil)
	apply := func(c Command) Result {
		entry := (&Entry{Wall: 10, Commands: []Command{c}}).Append(nil)
		shared, err := DecodeShared(entry, nil)
		if err != nil {
			t.Fatal(err)
		}
		result := s.Apply(&shared, nil)[0]
		for i := range entry { // a State that kept text would see this
			entry[i] = '#'
		}
		return result
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
