package peers

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
)

func connsOf(n *node) (list []net.Conn) {
	n.conns.Range(func(conn, _ any) bool { list = append(list, conn.(net.Conn)); return true })
	return list
}

func testSealer(t testing.TB, key string) *sealer {
	t.Helper()
	s, err := newSealer([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const recordKey = "0123456789abcdef"

// sealed gives records of one frame each.
func sealedRecords(t testing.TB, payloads ...string) (records [][]byte) {
	t.Helper()
	s := testSealer(t, recordKey)
	for i, payload := range payloads {
		record := appendFrame(make([]byte, recordHeadBytes), frameHop, uint64(i), []byte(payload))
		records = append(records, bytes.Clone(s.seal(record)))
	}
	return records
}

func TestRecordsArriveAsTheyWereSent(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 3*minRead))
	payloads := []string{"a", "", long, "b"}
	var wire []byte
	for _, record := range sealedRecords(t, payloads...) {
		wire = append(wire, record...)
	}
	for name, from := range map[string]io.Reader{"at once": bytes.NewReader(wire), "byte by byte": oneByOne{bytes.NewReader(wire)}} {
		r := recordReader{from: from, opener: testSealer(t, recordKey)}
		for i, want := range payloads {
			frames, err := r.next()
			if err != nil {
				t.Fatalf("%s, record %d: %v", name, i, err)
			}
			f, rest, err := cutFrame(frames)
			if err != nil || len(rest) != 0 || f.kind != frameHop || f.id != uint64(i) || string(f.payload) != want {
				t.Fatalf("%s, record %d: kind %d, id %d, %d bytes, %v", name, i, f.kind, f.id, len(f.payload), err)
			}
		}
		if _, err := r.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// Whoever sits between two edges can cut a link, and nothing else.
func TestRecordsThatWereTamperedWithAreRefused(t *testing.T) {
	records := sealedRecords(t, "first", "second", "third")
	changed := bytes.Clone(records[1])
	changed[len(changed)-20] ^= 1
	for name, wire := range map[string][][]byte{
		"repeated":         {records[0], records[0]},
		"left out":         {records[0], records[2]},
		"swapped":          {records[1], records[0]},
		"changed":          {records[0], changed},
		"of another key":   {records[0], testSealer(t, "another key 0123").seal(appendFrame(make([]byte, recordHeadBytes), frameHop, 1, nil))},
		"too long":         {records[0], {0xff, 0xff, 0xff, 0xff}},
		"without contents": {records[0], {0, 0, 0, 16}, make([]byte, 16)},
	} {
		r := recordReader{from: bytes.NewReader(bytes.Join(wire, nil)), opener: testSealer(t, recordKey)}
		var err error
		for err == nil {
			_, err = r.next()
		}
		if !errors.Is(err, errSeal) && !errors.Is(err, errRecordLength) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFramesThatDoNotFitAreRefused(t *testing.T) {
	whole := appendFrame(nil, frameHop, 7, []byte("payload"))
	for n := 1; n < len(whole); n++ {
		if _, _, err := cutFrame(whole[:n]); !errors.Is(err, errFrame) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func FuzzHandover(f *testing.F) {
	f.Add(append(beginEntries("counts"), make([]byte, 2*entryBytes)...))
	f.Add(lastChunk(7, false, []givenPart{{partition: 1, since: 2}, {partition: 270, since: 3}}))
	f.Add([]byte{chunkOfEntries, 200, 'x'})
	f.Add([]byte{chunkIsLast, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	c := newCluster(f, "edge-1", "edge-2")
	c.log = slog.New(slog.DiscardHandler) // the target may not log to f
	n := c.start("edge-1")
	from := n.peer("edge-2")
	f.Fuzz(func(_ *testing.T, chunk []byte) {
		_ = n.takeOver(from, chunk) // must neither panic nor give a partition away
		_, _ = parseWord(chunk)
	})
}

func FuzzRecord(f *testing.F) {
	for _, record := range sealedRecords(f, "a", "bc") {
		f.Add(record)
	}
	f.Add([]byte{0, 0, 0, 40})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := recordReader{from: bytes.NewReader(wire), opener: testSealer(t, recordKey)}
		for {
			frames, err := r.next()
			if err != nil {
				return
			}
			for len(frames) > 0 && err == nil {
				_, frames, err = cutFrame(frames)
			}
		}
	})
}
