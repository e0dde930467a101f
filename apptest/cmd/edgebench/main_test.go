//go:build unix

package main

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "x"}, {"-rounds", "0"}, {"-run", "1500ms"}, {"-interceptor", "/does/not/exist"}, {"-only", "nothing"}} {
		if code := run(args, io.Discard, io.Discard); code == 0 {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestMetricsAreSummedByNameAndLabel(t *testing.T) {
	const text = "a_total{route=\"x\",code=\"too_soon\"} 3\na_total{route=\"y\",code=\"too_soon\"} 4\na_total{code=\"2xx\"} 9\na_total_more 5\nb 1.5\n"
	for _, c := range []struct {
		name, label string
		want        float64
	}{{"a_total", `code="too_soon"`, 7}, {"a_total", "", 16}, {"b", "", 1.5}, {"c", "", 0}} {
		if got, err := sumLines(bufio.NewScanner(strings.NewReader(text)), c.name, c.label); err != nil || got != c.want {
			t.Errorf("%s %s: %v, %v", c.name, c.label, got, err)
		}
	}
	if _, err := sumLines(bufio.NewScanner(strings.NewReader("b x\n")), "b", ""); err == nil {
		t.Error("what is no number is taken")
	}
}

func TestSummaryIsRead(t *testing.T) {
	requests, seconds, refused, failed, err := readSummary([]byte("Running 1s test\nSUMMARY 1000 2000000 10 1\n"))
	if err != nil || requests != 1000 || seconds != 2 || refused != 10 || failed != 1 {
		t.Error(requests, seconds, refused, failed, err)
	}
	if _, _, _, _, err := readSummary([]byte("unable to connect\n")); err == nil {
		t.Error("what holds no summary is taken")
	}
}
