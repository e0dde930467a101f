//go:build unix

package main

import (
	"io"
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

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-pairs", "x"}, {"-pairs", "0"}, {"-counter", "/does/not/exist"}} {
		if code := run(args, io.Discard, io.Discard); code == 0 {
			t.Errorf("%v is taken", args)
		}
	}
}
