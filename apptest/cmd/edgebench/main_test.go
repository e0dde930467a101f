//go:build unix

package main

import (
	"io"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "x"}, {"-rounds", "0"}, {"-run", "1500ms"}, {"-interceptor", "/does/not/exist"}, {"-only", "nothing"}} {
		if code := run(args, io.Discard, io.Discard); code == 0 {
			t.Errorf("%v is taken", args)
		}
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
