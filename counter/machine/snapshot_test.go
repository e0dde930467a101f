package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"headgate.example/lib/sale"
)

// busyShard has something of everything.
func busyShard(t testing.TB) *shard {
	sh := newShard(t)
	tm := terms("a", 40, 0)
	tm.Releases = []sale.Release{{At: start + 1_000_000, Units: 5}}
	sh.open(tm)
	sh.open(terms("b", 10, 3))
	sh.want(Command{Kind: Abort, Order: sh.reserve("b", "u1", "k", 1).Order, Reason: "refused"}, CodeReleased)
	sh.want(Command{Kind: ForgetSale, Sale: "b", Revision: 3}, CodeOK)
	for i := range 12 {
		r := sh.reserve("a", fmt.Sprint("u", i%5), fmt.Sprint("k", i), 2)
		switch i % 4 {
		case 1:
			sh.want(Command{Kind: Confirm, Order: r.Order}, CodeConfirmed)
		case 2:
			sh.want(Command{Kind: Abort, Order: r.Order, Reason: "refused"}, CodeReleased)
		}
		sh.pass(3000)
	}
	sh.want(Command{Kind: RestoreSale, Restore: &Restore{Terms: *terms("c", 5, 0), Revision: 2, Parts: 2, Sold: []SoldOrder{
		{Order: soldID(5, 1), User: "u1", Quantity: 1, Slot: 1}, {Order: soldID(4, 1), User: "u1", Quantity: 1, Slot: 1}}}}, CodeOK)
	sh.want(Command{Kind: Ban, Rule: RuleUser, Value: "u9", Until: start + 1_000_000, Reason: "bot"}, CodeOK)
	sh.want(Command{Kind: Ban, Rule: RuleAddress, Value: "192.0.2.0/24"}, CodeOK)
	sh.want(Command{Kind: Unban, Rule: RuleAddress, Value: "192.0.2.0/24"}, CodeOK)
	sh.want(Command{Kind: Revoke, User: "u9", Before: start}, CodeOK)
	return sh
}

// busyShared has a sale with another shard, and a forgotten one, too: what format version 2 is for.
func busyShared(t testing.TB) *shard {
	sh := busyShard(t)
	sh.open(sharedTerms("m", 20, 0, 2))
	sh.want(Command{Kind: Ask, Sale: "m", Value: "s2", Quantity: 3}, CodeOK)
	sh.want(Command{Kind: Accept, Sale: "m", Value: "s2", Total: 4}, CodeOK)
	sh.open(sharedTerms("n", 7, 0, 3))
	sh.want(Command{Kind: Ask, Sale: "n", Value: "s3", Quantity: 1}, CodeOK)
	sh.want(Command{Kind: Ask, Sale: "n", Value: "s3", Total: 1}, CodeOK)
	sh.want(Command{Kind: ForgetSale, Sale: "n", Revision: 3}, CodeOK)
	return sh
}

func TestSnapshotDamaged(t *testing.T) {
	good := snapshotOf(t, busyShared(t).s)
	for i := range good {
		if _, err := Read(bytes.NewReader(good[:i]), testOptions); err == nil || !strings.Contains(err.Error(), "offset") {
			t.Fatalf("cut off at %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x04
		if _, err := Read(bytes.NewReader(bad), testOptions); err == nil || !strings.Contains(err.Error(), "offset") {
			t.Fatalf("a flipped bit at %d: %v", i, err)
		}
	}
	for what, b := range map[string][]byte{
		"more bytes":    append(bytes.Clone(good), 0),
		"later version": append(append([]byte(snapshotMagic), 9, 0), good[10:]...),
	} {
		if _, err := Read(bytes.NewReader(b), testOptions); err == nil {
			t.Errorf("%s: is taken", what)
		} else {
			t.Log(err)
		}
	}
	if _, err := Read(bytes.NewReader(good), Options{Shard: "s2", Number: 7}); err == nil || !strings.Contains(err.Error(), `"s1"`) {
		t.Errorf("another shard's snapshot: %v", err)
	}
	broken := errors.New("disk")
	if _, err := Read(io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(broken)), testOptions); !errors.Is(err, broken) {
		t.Errorf("a failing disk: %v", err)
	}
	if _, err := busyShard(t).s.Snapshot().WriteTo(fullDisk{}); err == nil {
		t.Error("a full disk is not told")
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestSnapshotSections: a large state is written in bounded sections, and comes back the same.
func TestSnapshotSections(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 100_000, 0))
	e := Entry{Wall: start}
	for i := range 5000 {
		e.Commands = append(e.Commands, Command{Kind: Reserve, Sale: "a", User: fmt.Sprint("u", i), Key: strings.Repeat("k", 40), Quantity: 1})
	}
	sh.s.Apply(&e, nil)
	b := snapshotOf(t, sh.s)
	if len(b) < 3*flushBytes {
		t.Fatalf("only %d bytes", len(b))
	}
	s := readState(t, b)
	if !bytes.Equal(snapshotOf(t, s), b) {
		t.Fatal("written again, it differs")
	}
	if r := s.Apply(&Entry{Wall: start, Commands: []Command{{Kind: Reserve, Sale: "a", User: "u4999", Key: strings.Repeat("k", 40), Quantity: 1}}}, nil)[0]; r.Code != CodeAlready {
		t.Errorf("a retry after reading: %+v", r)
	}
}

// resealSnapshot corrects number and checksum of each section, as far as the lengths lead.
func resealSnapshot(b []byte) []byte {
	b = bytes.Clone(b)
	at := len(snapshotMagic) + 2
	for number := uint32(0); len(b)-at >= sectionHeader+4; number++ {
		length := int(binary.LittleEndian.Uint32(b[at+5:]))
		if length > len(b)-at-sectionHeader-4 {
			break
		}
		binary.LittleEndian.PutUint32(b[at+1:], number)
		end := at + sectionHeader + length
		binary.LittleEndian.PutUint32(b[end:], checksum(b[at:end]))
		at = end + 4
	}
	return b
}

// FuzzReadSnapshot: what can be read holds the invariants, can be worked with, and is written back the
// same way once it has been.
func FuzzReadSnapshot(f *testing.F) {
	f.Add(snapshotOf(f, New(testOptions)))
	f.Add(snapshotOf(f, busyShard(f).s))
	f.Add(snapshotOf(f, busyShared(f).s))
	f.Add([]byte(snapshotMagic))
	f.Add(append([]byte(snapshotMagic), 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, resealSnapshot(b)} {
			s, err := Read(bytes.NewReader(b), testOptions)
			if err != nil {
				continue
			}
			once := snapshotOf(t, s)
			if !bytes.Equal(snapshotOf(t, readState(t, once)), once) {
				t.Fatal("written and read, it differs")
			}
			e := everyCommandNow()
			e.Wall, e.Served = s.Wall()+100_000, s.Served()+100_000_000
			s.Apply(&e, nil)
			s.Apply(&Entry{Wall: s.Wall() + 1_000_000, Served: s.Served() + 1_000_000_000}, nil)
			s.Apply(&Entry{Wall: s.Wall() + 1_000_000, Served: s.Served() + 1_000_000_000}, nil)
			s.List(0)
			s.Rules(1)
		}
	})
}
