//go:build !race

package resp

import (
	"io"
	"strings"
	"testing"
)

// repeat gives the same bytes again and again.
type repeat struct{ text string }

func (r repeat) Read(b []byte) (int, error) { return copy(b, r.text), nil }

func TestPipelinesAllocateNothing(t *testing.T) {
	one := "*5\r\n$7\r\nRESERVE\r\n$1\r\n1\r\n$7\r\nu000001\r\n$1\r\n1\r\n$0\r\n\r\n"
	r := NewReader(repeat{strings.Repeat(one, 20)}, DefaultLimits())
	w := NewWriter(io.Discard)
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
		for {
			args, ok, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			w.Array(2)
			w.Bulk("sold_out")
			w.Int(int64(len(args)))
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("20 requests and replies made %v allocations", n)
	}
}
