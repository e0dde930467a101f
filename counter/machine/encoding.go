package machine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"unsafe"

	"headgate.example/lib/sale"
)

// Integers are varints (zigzag where they are signed), strings a length and their bytes, lists a count
// and their elements. decoder holds every length and count against a bound before it allocates.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func appendString(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func appendInts(dst []byte, values ...int64) []byte {
	for _, v := range values {
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}

func appendBool(dst []byte, b bool) []byte { return append(dst, byte(b2i(b))) }

func appendTerms(dst []byte, t *sale.Terms) []byte {
	dst = appendString(dst, t.ID)
	dst = appendInts(dst, t.Revision, t.Stock, t.Limit, t.OpensAt, t.EndsAt, t.HoldForMillis, t.RetainForMillis)
	dst = binary.AppendUvarint(dst, uint64(len(t.Releases)))
	for _, r := range t.Releases {
		dst = appendInts(dst, r.At, r.Units)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Shards)))
	for _, name := range t.Shards {
		dst = appendString(dst, name)
	}
	dst = appendInts(dst, int64(t.Ring.Partitions), int64(t.Ring.Replicas))
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(t.Ring.Load))
}

// decoder reads what the append functions wrote. After the first error it gives zeroes.
type decoder struct {
	b       []byte
	off     int
	base    int64 // where b begins in its file
	version int   // of the format
	err     error
	// sale is that of the last reservation, if there was one
	sale     string
	reserved bool
	// share lets text lie in b
	share bool
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("offset %d: %s", d.base+int64(d.off), fmt.Sprintf(format, args...))
	}
}

func (d *decoder) left() int { return len(d.b) - d.off }

func (d *decoder) byte(what string) byte {
	if d.err != nil || d.left() < 1 {
		d.fail("%s is cut off", what)
		return 0
	}
	d.off++
	return d.b[d.off-1]
}

func (d *decoder) bool(what string) bool {
	switch d.byte(what) {
	case 0:
		return false
	case 1:
		return true
	}
	d.off--
	d.fail("%s is neither 0 nor 1", what)
	return false
}

func (d *decoder) int(what string) int64 {
	if d.err != nil {
		return 0
	}
	if d.off < len(d.b) && d.b[d.off] < 0x80 { // one byte, as mostly
		d.off++
		return int64(d.b[d.off-1]>>1) ^ -int64(d.b[d.off-1]&1)
	}
	v, n := binary.Varint(d.b[d.off:])
	if n <= 0 {
		d.fail("%s is cut off or not a number", what)
		return 0
	}
	d.off += n
	return v
}

func (d *decoder) ints(what string, into ...*int64) {
	for _, v := range into {
		*v = d.int(what)
	}
}

// count reads a length or count of at most limit elements that take at least size bytes each.
func (d *decoder) count(what string, limit, size int) int {
	if d.err != nil {
		return 0
	}
	if d.off < len(d.b) {
		if v := int(d.b[d.off]); v < 0x80 && v <= limit && v*size < d.left() { // one byte, as mostly
			d.off++
			return v
		}
	}
	v, n := binary.Uvarint(d.b[d.off:])
	switch {
	case n <= 0:
		d.fail("%s is cut off or not a number", what)
		return 0
	case v > uint64(limit):
		d.fail("%s is %d, at most %d is allowed", what, v, limit)
		return 0
	}
	if d.off += n; int(v) > d.left()/size {
		d.fail("%s is %d, more than the %d bytes that follow can hold", what, v, d.left())
		return 0
	}
	return int(v)
}

func (d *decoder) string(what string, limit int) string {
	n := d.count(what, limit, 1)
	if d.err != nil || n == 0 {
		return ""
	}
	d.off += n
	return string(d.b[d.off-n : d.off])
}

// text is string for commands that State keeps nothing of.
func (d *decoder) text(what string, limit int) string {
	if !d.share {
		return d.string(what, limit)
	}
	n := d.count(what, limit, 1)
	if d.err != nil || n == 0 {
		return ""
	}
	d.off += n
	return unsafe.String(&d.b[d.off-n], n)
}

func (d *decoder) terms() *sale.Terms {
	t := &sale.Terms{ID: d.string("id", sale.MaxSaleIDBytes)}
	d.ints("terms", &t.Revision, &t.Stock, &t.Limit, &t.OpensAt, &t.EndsAt, &t.HoldForMillis, &t.RetainForMillis)
	t.Releases = d.releases()
	if n := d.count("number of shards", sale.MaxShards, 1); n > 0 {
		t.Shards = make([]string, n)
		for i := range t.Shards {
			t.Shards[i] = d.string("shard", sale.MaxSaleIDBytes)
		}
	}
	t.Ring.Partitions, t.Ring.Replicas = int(d.int("ring")), int(d.int("ring"))
	if d.left() < 8 {
		d.fail("ring load is cut off")
	}
	if d.err == nil {
		t.Ring.Load = math.Float64frombits(binary.LittleEndian.Uint64(d.b[d.off:]))
		d.off += 8
	}
	return t
}

func (d *decoder) releases() []sale.Release {
	n := d.count("number of releases", sale.MaxReleases, 2)
	if n == 0 {
		return nil
	}
	releases := make([]sale.Release, n)
	for i := range releases {
		d.ints("release", &releases[i].At, &releases[i].Units)
	}
	return releases
}

func (d *decoder) uint(what string) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.off:])
	if n <= 0 {
		d.fail("%s is cut off or not a number", what)
		return 0
	}
	d.off += n
	return v
}
