package logfiles

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft-wal/types"
)

// Whatever is filled ahead, a file reads as what was written and zeros, at its size.
func TestFileIsFilledWithZerosAheadOfItsEnd(t *testing.T) {
	const size, name = 3*fillBytes + 100, "tail.wal"
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	f := NewFS(&Log{dir: dir})
	w, err := f.Create(dir, name, size)
	if err != nil {
		t.Fatal(err)
	}
	want, end := make([]byte, size), 0
	same := func() {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("after %d bytes the file of %d is another one than was written (%v)", end, len(got), err)
		}
	}
	write := func(w types.WritableFile, n int) {
		t.Helper()
		text := bytes.Repeat([]byte{byte(1 + random.IntN(255))}, n)
		copy(want[end:], text)
		if _, err := w.WriteAt(text, int64(end)); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		end += n
		if got := w.(*file); got.synced.Load() != int64(end) || got.filled < int64(end) || got.filled > size {
			t.Fatalf("of %d bytes %d are known to be synced, %d are filled", end, got.synced.Load(), got.filled)
		}
	}
	for end < size/2 {
		write(w, 1+random.IntN(20_000))
		same()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f = NewFS(&Log{dir: dir, tail: name, tailEnd: int64(end)})
	if w, err = f.OpenWriter(dir, name); err != nil {
		t.Fatal(err)
	}
	for end < size-20_000 {
		write(w, 1+random.IntN(20_000))
		same()
	}
	write(w, size-end)
	same()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file whose end nobody knows keeps what it holds.
func TestUnknownFileIsNotFilled(t *testing.T) {
	const name = "other.wal"
	dir := t.TempDir()
	want := bytes.Repeat([]byte{7}, 1000)
	if err := os.WriteFile(filepath.Join(dir, name), want, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := NewFS(&Log{dir: dir, tail: "tail.wal"}).OpenWriter(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{8}, 10); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want[10] = 8
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the file was changed behind what was written (%v)", err)
	}
}
