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
		id: id, shard: "s1", folder: folder, secret: []byte(secret), reads: 7,
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
		reads            int
	}{
		{"as it should be", testStream("c2", "two", "a common secret"), forRaft, "", "", 2},
		{"unknown folder so far", testStream("c3", "three", "a common secret"), forRaft, "", "", 2},
		{"wiped", testStream("c2", "another", "a common secret"), forRaft, "a wiped voter returns under a new id", errNotForRaft.Error(), 0},
		{"a wiped one may look", testStream("c2", "another", "a common secret"), forProbe, "", errNotForRaft.Error(), 7},
		{"another secret", testStream("c2", "two", "another secret"), forRaft, "raft_secret differs", "EOF", 0},
		{"another shard", otherShard, forRaft, "this is shard s1, number 0", errNotForRaft.Error(), 0},
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
		if c.dialed == "" && (found.id != "c1" || found.folder != "one" || found.last != 7 || found.applied != 5 || found.wall != 1_700_000_000_000 || found.reads != c.reads) {
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

// answering is a hand-written listener's end of the handshake: say gives the words between the greeting and the proof.
func answering(nc net.Conn, secret string, say func(purpose string) string) error {
	hello, err := readLine(nc)
	if err != nil {
		return err
	}
	told := greeting + " " + say(strings.Split(hello, " ")[2])
	signer := &stream{self: self{secret: []byte(secret)}}
	return writeLine(nc, told+" "+signer.proof("listener", hello, told))
}

// A program of before the entry versions were told answers every purpose in 8 words; and what a listener says of
// itself is believed with the right proof only.
func TestProbeOfAHandWrittenListener(t *testing.T) {
	for _, c := range []struct {
		name, purpose, secret, said string
		reads                       int
		want                        string // part of the error
	}{
		{"an older program", forProbe, "s", "c1 one 7 5 1700 nonce", 2, ""},
		{"an older program, for raft", forRaft, "s", "c1 one 7 5 1700 nonce", 2, ""},
		{"of the version before", forProbe, "s", "c1 one 7 5 1700 2 nonce", 2, ""},
		{"a later program", forProbe, "s", "c1 one 7 5 1700 7 nonce", 7, ""},
		{"the highest that an entry can have", forProbe, "s", "c1 one 7 5 1700 255 nonce", 255, ""},
		{"not asked for", forRaft, "s", "c1 one 7 5 1700 3 nonce", 0, "not a voter of this version"},
		{"a word too many", forProbe, "s", "c1 one 7 5 1700 3 4 nonce", 0, "not a voter of this version"},
		{"a word too few", forProbe, "s", "c1 one 7 5 nonce", 0, "not a voter of this version"},
		{"zero", forProbe, "s", "c1 one 7 5 1700 0 nonce", 0, "entry version 0"},
		{"negative", forProbe, "s", "c1 one 7 5 1700 -3 nonce", 0, "not a voter"},
		{"no number", forProbe, "s", "c1 one 7 5 1700 three nonce", 0, "not a voter"},
		{"empty", forProbe, "s", "c1 one 7 5 1700  nonce", 0, "not a voter"},
		{"beyond what an entry can have", forProbe, "s", "c1 one 7 5 1700 256 nonce", 0, "not a voter"},
		{"no number, and no proof either", forProbe, "another", "c1 one 7 5 1700 three nonce", 0, "raft_secret differs"},
		{"no proof", forProbe, "another", "c1 one 7 5 1700 3 nonce", 0, "raft_secret differs"},
	} {
		near, far := net.Pipe()
		listened := make(chan error, 1)
		go func() {
			err := answering(far, c.secret, func(string) string { return c.said })
			if err == nil && c.purpose == forRaft && c.want == "" {
				_, err = readLine(far) // the dialer's proof
			}
			listened <- err
		}()
		found, err := testStream("c2", "two", "s").greet(near, c.purpose)
		if lost := <-listened; lost != nil {
			t.Errorf("%s: the listener: %v", c.name, lost)
		}
		near.Close()
		far.Close()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if found.reads != c.reads {
			t.Errorf("%s: reads %d, want %d", c.name, found.reads, c.reads)
		}
	}
}

// An older dialer takes 8 words and no others; a later one is told one more; and the proof is of all of them.
func TestAnswerToAHandWrittenDialer(t *testing.T) {
	listener := testStream("c1", "one", "s")
	for _, c := range []struct {
		purpose string
		words   int
	}{{"probe", 8}, {forRaft, 8}, {forProbe, 9}, {"probe3", 8}} {
		near, far := net.Pipe()
		listened := make(chan error, 1)
		go func() { listened <- listener.answer(far) }()
		hello := greeting + " " + c.purpose + " s1 0 c2 two nonce"
		if err := writeLine(near, hello); err != nil {
			t.Fatal(err)
		}
		line, err := readLine(near)
		if err != nil {
			t.Fatalf("%s: %v", c.purpose, err)
		}
		near.Close()
		if err := <-listened; err == nil {
			t.Errorf("%s: let through to raft", c.purpose)
		}
		far.Close()
		told, proof, _ := cutLast(line, " ")
		if proof != listener.proof("listener", hello, told) {
			t.Errorf("%s: another proof", c.purpose)
		}
		words := strings.Split(told, " ")
		if len(words) != c.words {
			t.Errorf("%s: %d words, want %d: %s", c.purpose, len(words), c.words, told)
		}
		if c.words == 9 && words[7] != "7" {
			t.Errorf("%s: %s, want that it reads 7", c.purpose, told)
		}
	}
}

// FuzzHandshake: whatever is sent to a raft port, nobody without the secret gets through to raft.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte("HEADGATE-RAFT 1 raft s1 0 c2 two nonce\nproof\n"))
	f.Add([]byte("HEADGATE-RAFT 1 probe s1 0 c2 two nonce\n"))
	f.Add([]byte("HEADGATE-RAFT 1 probe2 s1 0 c2 two nonce\n"))
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
