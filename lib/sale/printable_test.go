package sale

import (
	"bytes"
	"strings"
	"testing"
)

// Every character at every place is taken or refused as one by one.
func TestPrintable(t *testing.T) {
	for length := range 20 {
		text := bytes.Repeat([]byte{'x'}, length)
		for at := range text {
			for c := range 256 {
				text[at] = byte(c)
				if got, want := printable(string(text)), c > ' ' && c <= '~'; got != want {
					t.Fatalf("%q: %v", text, got)
				}
			}
			text[at] = 'x'
		}
	}
	for _, pair := range []string{"\x00\xff", "\xff\x00", "!~", "~!", " !", "\x7f!", "\x80 "} {
		text := strings.Repeat(pair, 8)
		if got, want := printable(text), pair == "!~" || pair == "~!"; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
