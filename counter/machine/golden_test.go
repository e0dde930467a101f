package machine

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"testing"
)

// golden reads a file that an earlier version of this package wrote.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEntriesOfAllVersions: an entry of each format version is read, means what it meant, and is still written so.
func TestEntriesOfAllVersions(t *testing.T) {
	again := everyCommandNow()
	again.Commands = append(again.Commands, Command{Kind: Reserve, Sale: "a", User: "u2", Quantity: 1})
	for version, want := range map[int]Entry{1: everyCommand(), 2: everyCommandNow(), 3: again} {
		b := golden(t, fmt.Sprintf("entry-v%d.bin", version))
		if now := want.Append(nil); version < 3 && !bytes.Equal(now, b) {
			t.Errorf("version %d is not what is written for commands that need no more:\n% x\n% x", version, now, b)
		}
		got, err := DecodeEntry(b)
		if err != nil {
			t.Error(err)
			continue
		}
		want.Version = version
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %d reads %+v\nwant %+v", version, got, want)
		}
		if now := got.Append(nil); !bytes.Equal(now, b) {
			t.Errorf("version %d is written otherwise now:\n% x\n% x", version, now, b)
		}
	}
}

// TestVersion1SeveralShards: version 1 refused sales with several shards; an old log replays to that.
func TestVersion1SeveralShards(t *testing.T) {
	e, err := DecodeEntry(golden(t, "entry-v1-two-shards.bin"))
	if err != nil {
		t.Fatal(err)
	}
	s := New(testOptions)
	if r := s.Apply(&e, nil)[0]; r.Code != CodeErr || r.Field != "shards" {
		t.Errorf("answered %+v", r)
	}
	if _, known := s.Info("m", 0); known || s.LastOrder() != 0 {
		t.Error("something was changed")
	}
	e.Version = 0
	if r := s.Apply(&e, nil)[0]; r.Code != CodeOK {
		t.Errorf("in the present version: %+v", r)
	}
}

// TestVersion1Snapshot: a snapshot of format version 1 is read and works on, and a state without sales
// of several shards is still written that way.
func TestVersion1Snapshot(t *testing.T) {
	b := golden(t, "snapshot-v1.bin")
	s := readState(t, b)
	if again := snapshotOf(t, s); !bytes.Equal(again, b) {
		t.Error("it is written otherwise now")
	}
	if now := snapshotOf(t, busyShard(t).s); !bytes.Equal(now, b) {
		t.Error("the state it was made of is written otherwise now")
	}
	two := terms("m", 5, 0)
	two.Shards = []string{"s1", "s2"}
	s.Apply(&Entry{Wall: start, Commands: []Command{{Kind: OpenSale, Terms: two}}}, nil)
	later := snapshotOf(t, s)
	if at := len(snapshotMagic); later[at] != 2 || b[at] != 1 {
		t.Errorf("versions %d and %d", b[at], later[at])
	}
	if !bytes.Equal(snapshotOf(t, readState(t, later)), later) {
		t.Error("version 2, written and read, differs")
	}
}

// TestLaterVersions: what a later program wrote is refused, with a word that says so.
func TestLaterVersions(t *testing.T) {
	e := Entry{Version: EntryVersion + 1}
	if _, err := DecodeEntry(e.Append(nil)); err == nil {
		t.Error("a later entry is taken")
	}
	b := bytes.Clone(golden(t, "snapshot-v1.bin"))
	b[len(snapshotMagic)] = SnapshotVersion + 1
	if _, err := Read(bytes.NewReader(b), testOptions); err == nil {
		t.Error("a later snapshot is taken")
	}
}
