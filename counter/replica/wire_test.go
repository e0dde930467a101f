package replica

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func testStream(id, folder, secret string) *stream {
	return &stream{self: self{
		id: id, shard: "s1", folder: folder, secret: []byte(secret),
		log: func() (last, applied uint64) { return 7, 5 }, wall: func() int64 { return 1_700_000_000_000 },
		folderOf: func(id string) string { return map[string]string{"c2": "two"}[id] },
	}}
}

// shake lets one stream greet another over a pipe.
func shake(t *testing.T, dialer, listener *stream, purpose string) (found probed, dialed, listened error) {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- listener.answer(far) }()
	found, dialed = dialer.greet(near, purpose)
	if dialed != nil {
		near.Close() // a listener that waits for more hears that nothing comes
	}
	listened = <-done
	near.Close()
	far.Close()
	return found, dialed, listened
}

func TestHandshake(t *testing.T) {
	listener := testStream("c1", "one", "a common secret")
	otherShard := testStream("c3", "three", "a common secret")
	otherShard.self.number = 1
	for _, c := range []struct {
		name             string
		dialer           *stream
		purpose          string
		dialed, listened string // parts of the errors
	}{
		{"as it should be", testStream("c2", "two", "a common secret"), forRaft, "", ""},
		{"unknown folder so far", testStream("c3", "three", "a common secret"), forRaft, "", ""},
		{"wiped", testStream("c2", "another", "a common secret"), forRaft, "a wiped voter returns under a new id", errNotForRaft.Error()},
		{"a wiped one may look", testStream("c2", "another", "a common secret"), forProbe, "", errNotForRaft.Error()},
		{"another secret", testStream("c2", "two", "another secret"), forRaft, "raft_secret differs", "EOF"},
		{"another shard", otherShard, forRaft, "this is shard s1, number 0", errNotForRaft.Error()},
	} {
		found, dialed, listened := shake(t, c.dialer, listener, c.purpose)
		for _, side := range []struct {
			err  error
			want string
		}{{dialed, c.dialed}, {listened, c.listened}} {
			if (side.err == nil) != (side.want == "") || side.err != nil && !strings.Contains(side.err.Error(), side.want) {
				t.Errorf("%s: %v, want %q", c.name, side.err, side.want)
			}
		}
		if c.dialed == "" && (found.id != "c1" || found.folder != "one" || found.last != 7 || found.applied != 5 || found.wall != 1_700_000_000_000) {
			t.Errorf("%s: found %+v", c.name, found)
		}
	}
	wrong := peer{Voter: Voter{ID: "c1", Raft: "h:1"}, folder: "before"}
	if err := wrong.checkFound(probed{id: "c1", folder: "one"}); err == nil {
		t.Error("another folder is taken for the one in the log")
	}
	if _, err := testStream("c2", "two", "").Dial(raft.ServerAddress("no address"), time.Second); err == nil {
		t.Error("an address without a network was dialed")
	}
}

// FuzzHandshake: whatever is sent to a raft port, nobody without the secret gets through to raft.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte("HEADGATE-RAFT 1 raft s1 0 c2 two nonce\nproof\n"))
	f.Add([]byte("HEADGATE-RAFT 1 probe s1 0 c2 two nonce\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte(strings.Repeat("x", maxLineBytes+1)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		go func() {
			_, _ = near.Write(sent)
			near.Close()
		}()
		err := testStream("c1", "one", "a secret").answer(far)
		far.Close()
		if err == nil {
			t.Error("let in without the secret")
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("it waited: %v", err)
		}
	})
}
