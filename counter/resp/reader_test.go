package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// drain feeds input through a Reader and returns every request, with the error that ended it.
func drain(src io.Reader, limits Limits) (requests [][]string, err error) {
	r := NewReader(src, limits)
	for {
		if err := r.Fill(); err != nil {
			return requests, err
		}
		for {
			args, ok, err := r.Next()
			if err != nil {
				return requests, err
			}
			if !ok {
				break
			}
			var request []string
			for _, a := range args {
				request = append(request, string(a))
			}
			requests = append(requests, request)
		}
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		input string
		want  [][]string
	}{
		{"*1\r\n$4\r\nPING\r\n", [][]string{{"PING"}}},
		{"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", [][]string{{"ECHO", ""}}},
		{"*1\r\n$4\r\nPING\r\n*2\r\n$1\r\na\r\n$3\r\nb\r\n\r\n", [][]string{{"PING"}, {"a", "b\r\n"}}},
		{"PING\r\n", [][]string{{"PING"}}},
		{"PING\n*1\r\n$1\r\nx\r\nECHO  hi \t\r\n", [][]string{{"PING"}, {"x"}, {"ECHO", "hi"}}},
		{"\r\n\n  \r\nPING\r\n", [][]string{{"PING"}}},
		{"*0\r\nPING\r\n", [][]string{{"PING"}}},
		{`ECHO "a b\n\x41\"" 'it''` + "\r\n", nil},
		{`ECHO "a b\n\x41\"" 'it\'s'` + "\r\n", [][]string{{"ECHO", "a b\nA\"", "it's"}}},
		{`SALE.OPEN "{\"id\":\"1\"}" ""` + "\r\n", [][]string{{"SALE.OPEN", `{"id":"1"}`, ""}}},
	} {
		for name, src := range map[string]io.Reader{
			"whole":    strings.NewReader(c.input),
			"one byte": iotest.OneByteReader(strings.NewReader(c.input)),
		} {
			got, err := drain(src, DefaultLimits())
			if c.want == nil {
				var malformed *ProtocolError
				if !errors.As(err, &malformed) {
					t.Errorf("%s %q: want a protocol error, got %v", name, c.input, err)
				}
				continue
			}
			if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s %q: got %q, %v; want %q", name, c.input, got, err, c.want)
			}
		}
	}
}

var malformed = []struct{ input, reason string }{
	{"*1000000000\r\n", "multibulk length exceeds 1024"},
	{"*1025\r\n", "multibulk length exceeds 1024"},
	{"*99999999999999999999999999", "multibulk length exceeds 1024"},
	{"*-1\r\n", "invalid multibulk length"},
	{"*\r\n", "invalid multibulk length"},
	{"*1x\r\n", "invalid multibulk length"},
	{"*1\rx", "invalid multibulk length"},
	{"*00000000000000000000000000001\r\n", "invalid multibulk length"},
	{"*1\r\n:1\r\n", "expected '$', got ':'"},
	{"*1\r\n$-1\r\n", "invalid bulk length"},
	{"*1\r\n$1000000000\r\n", "bulk length exceeds 65536"},
	{"*1\r\n$65537\r\n", "bulk length exceeds 65536"},
	{"*1\r\n$1\r\nabc", "expected CR LF after 1 bytes of a bulk string"},
	{"ECHO \"a\r\n", "unbalanced quotes in inline request"},
	{"ECHO \"a\"b\r\n", "unbalanced quotes in inline request"},
	{"GET / HTTP/1.1\r\n", "this port speaks RESP, not HTTP"},
	{"Host: localhost\r\n", "this port speaks RESP, not HTTP"},
	{strings.Repeat("a", 64<<10), "inline request exceeds 65536 bytes"},
	{strings.Repeat("a ", 1025) + "\r\n", "inline request has more than 1024 words"},
	{"*5\r\n" + strings.Repeat("$65536\r\n"+strings.Repeat("x", 65536)+"\r\n", 4), "request exceeds 262144 bytes"},
}

func TestMalformedRequests(t *testing.T) {
	for _, c := range malformed {
		_, err := drain(strings.NewReader(c.input), DefaultLimits())
		var got *ProtocolError
		if !errors.As(err, &got) || got.Reason != c.reason {
			t.Errorf("%.40q: got %v, want %q", c.input, err, c.reason)
		}
	}
}

func TestTruncatedRequests(t *testing.T) {
	whole := "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n"
	for n := 1; n < len(whole); n++ {
		if got, err := drain(strings.NewReader(whole[:n]), DefaultLimits()); len(got) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: got %q, %v", whole[:n], got, err)
		}
	}
}

func TestClaimsAllocateNothing(t *testing.T) {
	limits := Limits{Args: 1 << 30, BulkBytes: 1 << 30, InlineBytes: 1 << 30, RequestBytes: 1 << 30}
	r := NewReader(strings.NewReader("*1000000000\r\n$1000000000\r\nabc"), limits)
	if err := r.Fill(); err != nil {
		t.Fatal(err)
	}
	if allocated := testing.AllocsPerRun(10, func() {
		if _, ok, err := r.Next(); ok || err != nil {
			t.Errorf("got %v, %v; want an incomplete request", ok, err)
		}
	}); allocated != 0 {
		t.Errorf("a claimed gigabyte made %v allocations", allocated)
	}
	if len(r.buf) > firstBufferBytes {
		t.Errorf("the buffer grew to %d bytes", len(r.buf))
	}
}

func TestBufferShrinksAfterALargeRequest(t *testing.T) {
	large := fmt.Sprintf("*1\r\n$60000\r\n%s\r\n", strings.Repeat("x", 60000))
	r := NewReader(io.MultiReader(strings.NewReader(large), strings.NewReader("PING\r\n")), DefaultLimits())
	for range 20 {
		if err := r.Fill(); err != nil {
			break
		}
		for {
			if _, ok, err := r.Next(); err != nil || !ok {
				break
			}
		}
	}
	if len(r.buf) != firstBufferBytes {
		t.Errorf("the buffer kept %d bytes", len(r.buf))
	}
}

func TestWriterReplies(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Array(6)
	w.Simple("OK")
	w.Error("ERR a\r\nb")
	w.Int(-3)
	w.Bulk("x\r\ny")
	w.BulkInt(42)
	w.Null()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "*6\r\n+OK\r\n-ERR a  b\r\n:-3\r\n$4\r\nx\r\ny\r\n$2\r\n42\r\n$-1\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzReader(f *testing.F) {
	for _, c := range malformed {
		f.Add([]byte(c.input))
	}
	for _, seed := range []string{"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", "PING\r\n*1\r\n$4\r\nPING\r\n", "ECHO \"\\x41\" 'b\\''\r\n", "*1\r\n$4\r\nPI", "\n\n*0\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		limits := Limits{Args: 8, BulkBytes: 64, InlineBytes: 64, RequestBytes: 256}
		whole, wholeErr := drain(bytes.NewReader(input), limits)
		bytewise, bytewiseErr := drain(iotest.OneByteReader(bytes.NewReader(input)), limits)
		if !reflect.DeepEqual(whole, bytewise) {
			t.Fatalf("whole %q, byte by byte %q", whole, bytewise)
		}
		if (wholeErr == nil) != (bytewiseErr == nil) || wholeErr.Error() != bytewiseErr.Error() {
			t.Fatalf("whole: %v, byte by byte: %v", wholeErr, bytewiseErr)
		}
		for _, request := range whole {
			if len(request) < 1 || len(request) > limits.Args {
				t.Fatalf("request of %d arguments", len(request))
			}
		}
	})
}
