package logfiles

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const segmentBytes = 16 << 10

func openLog(dir string) (*wal.WAL, *FS, error) {
	found, err := Recover(dir, slog.New(slog.DiscardHandler), func(int, int) {})
	if err != nil {
		return nil, nil, err
	}
	files := NewFS(found)
	l, err := wal.Open(dir, wal.WithSegmentSize(segmentBytes), wal.WithSegmentFiler(walsegment.NewFiler(dir, files)))
	return l, files, err
}

// entry is an entry with content that has no long runs of zeros, as ours has.
func entry(index uint64) *raft.Log {
	rng := rand.New(rand.NewPCG(index, 7))
	text := make([]byte, 20+rng.IntN(700))
	for i := range text {
		text[i] = byte(1 + rng.IntN(255))
	}
	return &raft.Log{Index: index, Term: 3, Data: text, AppendedAt: time.Unix(0, 1767225600123456789).UTC()}
}

// fill makes a log of so many entries, one or a few a write, and leaves it as a killed process does.
func fill(t testing.TB, entries uint64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, _, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= entries; {
		write := []*raft.Log{entry(i)}
		for i++; i%3 != 0 && i <= entries; i++ {
			write = append(write, entry(i))
		}
		if err := l.StoreLogs(write); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyOf copies a log, so that it can be damaged.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func logFiles(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+fileSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func change(t *testing.T, path string, f func(text []byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused wants an error that names this file and an offset.
func refused(t *testing.T, what, dir, file string) {
	t.Helper()
	l, _, err := openLog(dir)
	if err == nil {
		l.Close()
		t.Errorf("%s: the log was opened", what)
		return
	}
	if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "offset ") {
		t.Errorf("%s: the error does not name %s and an offset: %v", what, file, err)
	}
}

// holds wants a log that opens with exactly these entries, whole, and can be written and opened again.
func holds(t *testing.T, what, dir string, entries uint64) {
	t.Helper()
	for range 2 {
		l, _, err := openLog(dir)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if last, err := l.LastIndex(); err != nil || last != entries {
			t.Errorf("%s: the log ends at %d (%v), want %d", what, last, err, entries)
		}
		for i := uint64(1); i <= entries; i++ {
			var got raft.Log
			if err := l.GetLog(i, &got); err != nil || got.Index != i || !bytes.Equal(got.Data, entry(i).Data) {
				t.Errorf("%s: entry %d: %v", what, i, err)
				break
			}
		}
		entries++
		if err := l.StoreLog(entry(entries)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// tailOf reads the file that was written last: its path, content, and where its writes end.
func tailOf(t *testing.T, dir string) (path string, text []byte, ends []int, firsts []uint64) {
	t.Helper()
	paths := logFiles(t, dir)
	path = paths[len(paths)-1]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ first, id uint64 }
	if _, err := fmt.Sscanf(filepath.Base(path), namePattern, &info.first, &info.id); err != nil {
		t.Fatal(err)
	}
	s := &segment{text: text, first: info.first}
	w := s.read()
	next := info.first
	for at := headerBytes; at < w.end; {
		kind, length, _ := s.frame(at)
		at += paddedFrame(length)
		switch kind {
		case frameEntry:
			next++
		case frameCommit:
			ends, firsts = append(ends, at), append(firsts, next)
		}
	}
	if len(ends) < 4 {
		t.Fatalf("only %d writes in %s", len(ends), path)
	}
	return path, text, ends, firsts
}

func TestWholeLogIsOpened(t *testing.T) {
	for _, entries := range []uint64{0, 1, 5, 160} {
		holds(t, fmt.Sprint(entries), fill(t, entries), entries)
	}
}

// Nothing that was acknowledged may be lost without a word: neither in a finished file, wherever it is
// damaged, nor in the one that is written.
func TestDamageIsRefused(t *testing.T) {
	const entries = 160
	dir := fill(t, entries)
	paths := logFiles(t, dir)
	if len(paths) < 4 {
		t.Fatalf("%d files", len(paths))
	}
	sealed := filepath.Base(paths[1])
	tailPath, tailText, ends, _ := tailOf(t, dir)
	tail := filepath.Base(tailPath)
	lastBegins := ends[len(ends)-2]
	try := func(what, file string, f func(text []byte) []byte) {
		t.Helper()
		bad := copyOf(t, dir)
		change(t, filepath.Join(bad, file), f)
		refused(t, what, bad, file)
	}
	size := len(tailText)
	sealedEnd := (&segment{text: read(t, paths[1])}).lastWord(0)
	for at := 0; at <= sealedEnd; at += 1 + sealedEnd/60 {
		try(fmt.Sprintf("a bit of a finished file, byte %d", at), sealed, flipped(at))
	}
	for at := 0; at < lastBegins; at += 1 + lastBegins/60 {
		try(fmt.Sprintf("a bit before the last write, byte %d of %d", at, lastBegins), tail, flipped(at))
	}
	for at := lastBegins; at < ends[len(ends)-1]-frameBytes; at++ {
		if at >= lastBegins+5 { // a frame's length may make the write look as if it were cut short
			try(fmt.Sprintf("a bit in the last write, byte %d", at-lastBegins), tail, flipped(at))
			at += 37
		}
	}
	try("a finished file is cut", sealed, func(text []byte) []byte { return text[:len(text)/2] })
	try("a finished file is cut at its end", sealed, func(text []byte) []byte { return text[:segmentBytes-1] })
	try("a finished file is emptied", sealed, func([]byte) []byte { return nil })
	try("a finished file is zeroed", sealed, zeroed(0, segmentBytes))
	try("a page of a finished file is zeroed", sealed, zeroed(4096, 8192))
	try("the tail is cut behind its writes", tail, func(text []byte) []byte { return text[:size-1] })
	try("the tail is cut", tail, func(text []byte) []byte { return text[:ends[1]] })
	try("the tail is emptied", tail, func([]byte) []byte { return nil })
	try("the tail is zeroed", tail, zeroed(0, size))
	try("a sector of the tail is zeroed", tail, zeroed(512, 1024))
	try("a write in the middle of the tail is zeroed", tail, zeroed(ends[0], ends[1]))
	try("the start of the tail is zeroed", tail, zeroed(0, ends[1]))
	try("the tail is of another log", tail, func([]byte) []byte { return read(t, paths[1]) })
}

// What a note of the log's end adds: the last writes cannot vanish either.
func TestNotedEndIsMissed(t *testing.T) {
	dir := fill(t, 40)
	l, files, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(41); i <= 50; i++ {
		if err := l.StoreLog(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := files.Note(); err != nil {
		t.Fatal(err)
	}
	holds(t, "untouched", copyOf(t, dir), 50)
	path, _, ends, _ := tailOf(t, dir)
	change(t, path, zeroed(ends[len(ends)-2], ends[len(ends)-1]))
	refused(t, "the last write is gone", dir, filepath.Base(path))
}

func TestMissingAndForeignFiles(t *testing.T) {
	dir := fill(t, 160)
	paths := logFiles(t, dir)
	for _, path := range paths {
		bad := copyOf(t, dir)
		file := filepath.Base(path)
		if err := os.Remove(filepath.Join(bad, file)); err != nil {
			t.Fatal(err)
		}
		if l, _, err := openLog(bad); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("without %s: %v", file, err)
			if err == nil {
				l.Close()
			}
		}
	}
	for _, name := range []string{"copy.wal", fmt.Sprintf(namePattern, 7, 9999), "1-2.wal"} {
		bad := copyOf(t, dir)
		change(t, filepath.Join(bad, filepath.Base(paths[0])), func(text []byte) []byte {
			if err := os.WriteFile(filepath.Join(bad, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
			return text
		})
		if _, _, err := openLog(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("with %s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(bad, name)); err != nil {
			t.Errorf("%s was touched: %v", name, err)
		}
	}
	index := func(what string, f func(path string) error) {
		t.Helper()
		bad := copyOf(t, dir)
		if err := f(filepath.Join(bad, metadb.FileName)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openLog(bad); err == nil || !strings.Contains(err.Error(), metadb.FileName) {
			t.Errorf("%s: %v", what, err)
		}
		if left := logFiles(t, bad); len(left) != len(paths) {
			t.Errorf("%s: %d of %d log files are left", what, len(left), len(paths))
		}
	}
	index("no index", os.Remove)
	index("an empty index", func(path string) error { return os.Truncate(path, 0) })
	index("a cut index", func(path string) error { return os.Truncate(path, 5000) })
	index("garbage for an index", func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("garbage "), 4096), 0o600) })
	note := copyOf(t, dir)
	change(t, filepath.Join(note, syncedFile), func(text []byte) []byte { return text[:9] })
	refused(t, "a damaged note", note, syncedFile)
}

// However little or much of the last write reached the disk before the power went, the log opens with
// all that came before it.
func TestTornWriteIsCleared(t *testing.T) {
	const entries = 158 // the last write holds several entries, and leaves room in its file: a full one is followed by another at any moment
	dir := fill(t, entries)
	path, text, ends, firsts := tailOf(t, dir)
	begin, end := ends[len(ends)-2], ends[len(ends)-1]
	before := firsts[len(firsts)-2] - 1
	if end-begin < 3*sectorBytes/2 {
		t.Fatalf("the last write has only %d bytes", end-begin)
	}
	try := func(what string, f func(text []byte) []byte) {
		t.Helper()
		torn := copyOf(t, dir)
		change(t, filepath.Join(torn, filepath.Base(path)), f)
		holds(t, what, torn, before)
	}
	for cut := begin; cut < end-4; cut += 1 + (end-begin)/40 {
		try(fmt.Sprintf("the first %d of %d bytes", cut-begin, end-begin), zeroed(cut, end))
	}
	for sector := begin / sectorBytes * sectorBytes; sector < end-sectorBytes; sector += sectorBytes {
		from, to := max(sector, begin), sector+sectorBytes
		try(fmt.Sprintf("without its bytes %d to %d", from-begin, to-begin), zeroed(from, to))
	}
	if bytes.Equal(text[begin:end], make([]byte, end-begin)) {
		t.Error("there was nothing to tear")
	}
}

// The first write of all may be torn, too, before anybody was told of it, and so may the making of the file.
func TestTornFirstWrite(t *testing.T) {
	fresh := fill(t, 0)
	path := logFiles(t, fresh)[0]
	for what, f := range map[string]func([]byte) []byte{
		"garbage":       func(text []byte) []byte { copy(text, "half a header, and then nothing"); return text },
		"no size yet":   func([]byte) []byte { return nil },
		"half the size": func(text []byte) []byte { return text[:len(text)/2] },
	} {
		dir := copyOf(t, fresh)
		change(t, filepath.Join(dir, filepath.Base(path)), f)
		holds(t, what, dir, 0)
	}
	dir := copyOf(t, fresh)
	if err := os.Remove(filepath.Join(dir, filepath.Base(path))); err != nil {
		t.Fatal(err)
	}
	holds(t, "not made yet", dir, 0)
}

// A folder of a program that took no notes is opened, and noted from then on.
func TestLogWithoutNote(t *testing.T) {
	dir := fill(t, 100)
	if err := os.Remove(filepath.Join(dir, syncedFile)); err != nil {
		t.Fatal(err)
	}
	holds(t, "without a note", dir, 100)
	if note, err := readSynced(dir); err != nil || note == nil {
		t.Errorf("%+v, %v", note, err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func flipped(at int) func([]byte) []byte {
	return func(text []byte) []byte {
		text[at] ^= 0x20
		return text
	}
}

func zeroed(from, to int) func([]byte) []byte {
	return func(text []byte) []byte {
		clear(text[from:min(to, len(text))])
		return text
	}
}
