package counter_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"headgate.example/lib/sale"
)

// unpack makes a folder of an archive of testdata.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", archive))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for in := tar.NewReader(zipped); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, filepath.FromSlash(head.Name))
		if head.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, string(text))
	}
}

// A data folder of format version 1 (shard.json, snapshot, log entries behind it), as a killed process
// left it, is read by every later program. It was written when version 1 was the only one: never make it
// anew.
func TestFolderOfVersion1(t *testing.T) {
	cfg := testConfig(unpack(t, "folder-v1.tar.gz"))
	cfg.Shard.Number, cfg.Bootstrap = 5, false
	s := start(t, cfg)
	c := dial(t, s.Addr())
	for _, want := range []struct{ sale, field, value string }{
		{"1", "stock", "105"}, {"1", "revision", "3"}, {"1", "alloc", "105"}, {"1", "held", "2"}, {"1", "confirmed", "2"},
		{"1", "released_total", "2"}, {"1", "paused", "0"}, {"1", "violation", ""}, {"1", "incarnation", "382796806079139840"},
		{"2", "closed", "1"}, {"2", "confirmed", "0"}, {"2", "released_total", "2"}, {"2", "violation", ""}, {"3", "forgotten", "1"},
	} {
		if got := field(c.do("AUDIT", want.sale), want.field); got != want.value {
			t.Errorf("sale %s: %s is %q, want %q", want.sale, want.field, got, want.value)
		}
	}
	const last = "382796808104988672"
	for order, state := range map[string]string{
		"382796806989303808": "confirmed", "382796807048024064": "held", "382796807081578496": "released",
		"382796807136104448": "released", "382796807425511424": "released", last: "confirmed",
	} {
		if got := field(c.do("ORDER", order), "state"); got != state {
			t.Errorf("order %s is %q, want %q", order, got, state)
		}
	}
	known, err := sale.ParseOrderID(last)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := sale.ParseOrderID(c.reserve("1", "new", 1, "")); err != nil || id <= known {
		t.Errorf("the next order is %d, the last one was %d: %v", id, known, err)
	}
	c.want(`["confirmed"]`, "CONFIRM", "382796807048024064")
}
