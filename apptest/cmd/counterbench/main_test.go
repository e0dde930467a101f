//go:build unix

package main

import (
	"bufio"
	"io"
	"maps"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct{ wire, text, failure string }{
		{"+OK\r\n", "OK", ""},
		{":42\r\n", "42", ""},
		{"$5\r\na\r\nbc\r\n", "a\r\nbc", ""},
		{"$-1\r\n", "", ""},
		{"*3\r\n$1\r\na\r\n:7\r\n*1\r\n+b\r\n", "a 7 b", ""},
		{"-ERR no\r\n", "", "ERR no"},
		{"$x\r\n", "", "not understood"},
		{"$4\r\nab", "", "unexpected EOF"},
	} {
		text, err := readReply(strings.NewReader(c.wire))
		if text != c.text && c.failure == "" || (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
			t.Errorf("%q: %q, %v", c.wire, text, err)
		}
	}
}

func TestAnswersOfACrowd(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("*6\r\n$8\r\nreserved\r\n$2\r\n17\r\n$4\r\nheld\r\n:1\r\n:1\r\n:5\r\n" +
		"*2\r\n$8\r\nsold_out\r\n:9\r\n-TRYAGAIN peers: away\r\n*2\r\n$5\r\nlimit\r\n:1\r\n*2\r\n$8\r\nsold_out\r\n:8\r\n"))
	counts := newCodes()
	for range 5 {
		if err := counts.read(in); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := counts.all(), map[string]int64{"reserved": 1, "sold_out": 2, "TRYAGAIN": 1, "limit": 1}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	for _, wire := range []string{"", "+OK\r\n", "*3\r\n", "*2\r\n$8\r\nsold", "*2\r\n$-1\r\n:0\r\n"} {
		if err := counts.read(bufio.NewReader(strings.NewReader(wire))); err == nil {
			t.Errorf("%q is taken for an answer", wire)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-pairs", "x"}, {"-pairs", "0"}, {"-counter", "/does/not/exist"}} {
		if code := run(args, io.Discard, io.Discard); code == 0 {
			t.Errorf("%v is taken", args)
		}
	}
}
