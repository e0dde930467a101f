package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/machine"
)

// sealed is a whole backup of this header and state.
func sealed(tb testing.TB, h Header, state []byte) []byte {
	tb.Helper()
	header, err := json.Marshal(h)
	if err != nil {
		tb.Fatal(err)
	}
	text := binary.LittleEndian.AppendUint16([]byte(magic), Version)
	text = binary.LittleEndian.AppendUint32(text, uint32(len(header)))
	return reseal(append(append(append(text, header...), state...), make([]byte, trailerBytes)...))
}

// reseal gives the text a fitting end, so that the checks behind the checksum are reached.
func reseal(text []byte) []byte {
	if len(text) < trailerBytes {
		return text
	}
	content := text[: len(text)-trailerBytes : len(text)-trailerBytes]
	sum := sha256.Sum256(content)
	return append(append(content, endMark...), sum[:]...)
}

// A header may claim any size: none is believed before the file is seen to have it.
func TestHeaderOfAnySize(t *testing.T) {
	for _, size := range []int64{1, 1 << 40, math.MaxInt64 - 1, math.MaxInt64, -1, math.MinInt64} {
		text := sealed(t, Header{Shard: "s1", Size: size}, nil)
		if _, err := read(bytes.NewReader(text), int64(len(text))); err == nil || !strings.Contains(err.Error(), "offset ") {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// Whatever the bytes, reading a backup ends with a state or with an error that names the offset, and a
// state that was read can be written and read again.
func FuzzReadBackup(f *testing.F) {
	var state bytes.Buffer
	if _, err := machine.New(machine.Options{Shard: "s1", Number: 3}).Snapshot().WriteTo(&state); err != nil {
		f.Fatal(err)
	}
	good := sealed(f, Header{Shard: "s1", Number: 3, Applied: 7, Size: int64(state.Len()), TakenAt: time.UnixMilli(1767225600000).UTC(), Program: "v1"}, state.Bytes())
	f.Add(good, false)
	f.Add(good, true)
	f.Add(good[:len(good)-1], true)
	f.Add(good[:prefixBytes], false)
	f.Add([]byte(magic), false)
	f.Add(sealed(f, Header{Shard: "s1", Size: math.MaxInt64}, nil), true)
	f.Add(sealed(f, Header{Shard: "s2", Number: 1023, Size: 3}, []byte("abc")), true)
	f.Fuzz(func(t *testing.T, text []byte, fitting bool) {
		if fitting {
			text = reseal(bytes.Clone(text))
		}
		loaded, err := read(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			if !strings.Contains(err.Error(), "offset ") {
				t.Fatalf("no offset: %v", err)
			}
			return
		}
		var again bytes.Buffer
		if _, err := loaded.State.Snapshot().WriteTo(&again); err != nil {
			t.Fatal(err)
		}
		loaded.Size = int64(again.Len())
		whole := sealed(t, loaded.Header, again.Bytes())
		if _, err := read(bytes.NewReader(whole), int64(len(whole))); err != nil {
			t.Fatalf("written again it cannot be read: %v", err)
		}
	})
}
