package resp

import (
	"io"
	"strconv"
)

// flushBytes is how much the Writer gathers before it writes by itself: the bound of its buffer, but
// for one reply element.
const flushBytes = 64 << 10

// Writer gathers replies. It keeps the first error of the connection and drops everything after it.
// It is not safe for concurrent use.
type Writer struct {
	dst io.Writer
	buf []byte
	err error
}

// NewWriter writes to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Flush writes what was gathered, and returns the first error ever.
func (w *Writer) Flush() error {
	if len(w.buf) > 0 && w.err == nil {
		_, w.err = w.dst.Write(w.buf)
	}
	w.buf = w.buf[:0]
	return w.err
}

// Buffered is the number of bytes that the next Flush will write.
func (w *Writer) Buffered() int { return len(w.buf) }

// Simple writes a simple string, such as OK.
func (w *Writer) Simple(text string) { w.line('+', text) }

// Error writes an error reply. The text starts with a code in capitals.
func (w *Writer) Error(text string) { w.line('-', text) }

// line writes text with control characters replaced: they would end the reply early.
func (w *Writer) line(kind byte, text string) {
	w.buf = append(w.buf, kind)
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		w.buf = append(w.buf, c)
	}
	w.end()
}

// Int writes an integer.
func (w *Writer) Int(n int64) { w.number(':', n); w.spill() }

// Array starts an array of n elements, which the caller writes next.
func (w *Writer) Array(n int) { w.number('*', int64(n)); w.spill() }

// Raw writes whole elements that the caller has put into their form.
func (w *Writer) Raw(elements string) { w.buf = append(w.buf, elements...); w.spill() }

// Null writes the null bulk string.
func (w *Writer) Null() { w.buf = append(w.buf, "$-1\r\n"...); w.spill() }

// Bulk writes a bulk string.
func (w *Writer) Bulk(text string) {
	w.number('$', int64(len(text)))
	w.buf = append(w.buf, text...)
	w.end()
}

// BulkInt writes a number as a bulk string: what Redis does inside flat field/value arrays.
func (w *Writer) BulkInt(n int64) {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], n, 10)
	w.number('$', int64(len(text)))
	w.buf = append(w.buf, text...)
	w.end()
}

func (w *Writer) number(kind byte, n int64) {
	if uint64(n) < 10 { // most lengths, counts and quantities
		w.buf = append(w.buf, kind, '0'+byte(n), '\r', '\n')
		return
	}
	w.buf = append(w.buf, kind)
	w.buf = strconv.AppendInt(w.buf, n, 10)
	w.buf = append(w.buf, '\r', '\n')
}

func (w *Writer) end() {
	w.buf = append(w.buf, '\r', '\n')
	w.spill()
}

func (w *Writer) spill() {
	if len(w.buf) >= flushBytes {
		_ = w.Flush() // the error is kept for the next Flush
	}
}
