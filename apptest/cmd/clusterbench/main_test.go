//go:build linux

package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/cluster"
)

const localFiles = "../../../deploy/local"

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-pairs", "x"}, {"-pairs", "0"}, {"-window", "10ms"}, {"-bin", "/does/not/exist"}, {"-only", "nothing"}} {
		if code := run(args, io.Discard, io.Discard); code == 0 {
			t.Errorf("%v is taken", args)
		}
	}
}

// TestASmallerClusterNamesNobodyWhoIsGone: the files are whole without the members that are left out.
func TestASmallerClusterNamesNobodyWhoIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		drop func(*cluster.Entry) bool
		kind string
		gone []string
	}{
		"edges": {func(e *cluster.Entry) bool { return e.Kind == cluster.Interceptor && e.Name != "interceptor-1" }, cluster.Interceptor,
			[]string{"interceptor-2", "interceptor-3", "headgate_2", "headgate_3", "127.0.0.1:8082", "127.0.0.1:8083"}},
		"shards": {func(e *cluster.Entry) bool { return e.Shard == "s2" }, cluster.Counter, []string{"counter-s2", "name: s2", "127.0.0.1:742"}},
		"backends": {func(e *cluster.Entry) bool { return e.Name == "backend-2" || e.Name == "consumer-2" }, cluster.Counter,
			[]string{"backend-2", "consumer-2", "127.0.0.1:8092"}},
		"nobody": {func(*cluster.Entry) bool { return false }, cluster.Counter, nil},
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "local")
			if err := writeSource(localFiles, to, c.drop, c.kind, 0.05); err != nil {
				t.Fatal(err)
			}
			whole, err := cluster.ReadLayout(localFiles)
			if err != nil {
				t.Fatal(err)
			}
			left, err := cluster.ReadLayout(to)
			if err != nil {
				t.Fatal(err)
			}
			for i := range whole.Members {
				e := &whole.Members[i]
				kept := left.Find(e.Name)
				if c.drop(e) != (kept == nil) {
					t.Errorf("%s is there: %v", e.Name, kept != nil)
				}
				if kept != nil && (kept.CPU == 0.05) != (e.Kind == c.kind) {
					t.Errorf("%s is held to %g", e.Name, kept.CPU)
				}
			}
			for file, text := range texts(t, to) {
				for line := range strings.Lines(text) {
					line, _, _ = strings.Cut(line, "#") // what is said of others may stay
					for _, word := range c.gone {
						if strings.Contains(line, word) {
							t.Errorf("%s names %s: %s", file, word, line)
						}
					}
				}
			}
			if len(c.gone) == 0 {
				want, got := texts(t, localFiles), texts(t, to)
				delete(want, cluster.LayoutFile)
				delete(got, cluster.LayoutFile)
				if !maps.Equal(want, got) {
					t.Error("files changed where nobody is left out")
				}
			}
		})
	}
}

func texts(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[file.Name()] = string(text)
	}
	return all
}

func TestFiguresAreOfTheTimeBetween(t *testing.T) {
	begin := time.Now()
	s := &site{contest: contest{kind: cluster.Interceptor}}
	moments := [2]*moment{}
	for i := range moments {
		n := float64(i)
		at := begin.Add(time.Duration(i) * 2 * time.Second)
		moments[i] = &moment{at: at, edges: []edgeMoment{{at, 100 + 1000*n, 50, 40 + 300*n}, {at.Add(time.Duration(i) * 2 * time.Second), 10 + 2000*n, 0, 0}},
			cpu: []cluster.Status{{Kind: cluster.Interceptor, CPU: 7 + n}, {Kind: cluster.Interceptor, CPU: 2 + 3*n}, {Kind: cluster.Nginx, CPU: n}}}
	}
	m := s.between(moments[0], moments[1])
	if m.rate != 1000 || m.hops != 0.1 || m.busiest != 1.5 || m.cpu[cluster.Interceptor] != 0.002 || m.cpu[cluster.Nginx] != 0.0005 {
		t.Errorf("%+v", m)
	}
}
