package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"headgate.example/lib/durable"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "note")
	for _, text := range []string{"a long first text", "short"} {
		if err := durable.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := durable.WriteFile(filepath.Join(path, "x"), nil); err == nil {
		t.Error("a file inside a file was written")
	}
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
	}
	if stat, err := os.Stat(deep); err != nil || !stat.IsDir() || stat.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", stat, err)
	}
	t.Chdir(top)
	if err := durable.MkdirAll("d/e/"); err != nil {
		t.Error(err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "x")} {
		if err := durable.MkdirAll(dir); err == nil {
			t.Errorf("%s was made", dir)
		}
	}
}
