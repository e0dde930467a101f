package apptest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headgate.example/apptest/voters"
)

const (
	diskBytes  = 96 << 20
	diskLow    = 33 << 20 // min_free_bytes: two log files and a little
	diskMargin = 2 << 20
	diskBuyers = 16
	diskRetry  = 5 * time.Millisecond
	diskTries  = 8
	diskFlood  = 5000 // reservations of some 150 bytes: the log needs more than it has filled with zeros ahead, 256 KiB
)

// TestDiskIsFullWithinTheLog fills the disk of a running counter in one go, faster than it looks at what is
// free, on a file system that gives log files no space in advance: the log's own write fails. Whoever was told
// something keeps it, the program ends in words, cannot lose anything at starts without space, and goes on
// when there is some.
//
// The counter looks each second, and logs what has changed. So the disk is filled to below the mark, a little is given
// back, and when the counter has said so there is almost a second to fill the rest, and to send more than its log has room for.
func TestDiskIsFullWithinTheLog(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	shard, err := voters.New(bin.Path("counter"), t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shard.Close)
	counter := shard.Voters[0]
	if err := counter.Move(filepath.Join(disk, "data"), fmt.Sprintf("limits: {min_free_bytes: %d}\n", diskLow)); err != nil {
		t.Fatal(err)
	}
	if err := shard.Start(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := shard.OpenSale(deadline(t, patience), "full", 10_000_000, 1); err != nil {
		t.Fatal(err)
	}
	buyers := &diskCrowd{t: t, address: counter.Client}
	failed := 0
	for try := 0; failed < 2 && try < diskTries; try++ {
		began, before := time.Now(), buyers.bought.Load()
		stop := buyers.press()
		waitFor(t, patience, "people buy", func() bool { return buyers.bought.Load() > before+diskBuyers })
		stop()
		ballast := hasJustLooked(t, disk, counter)
		justLooked, look := time.Now(), lastLook(counter)
		stop = buyers.press()
		ended := false
		filler := fillDisk(t, disk)
		filled := time.Now()
		buyers.flood(try)
		waitFor(t, patience, "the counter ends, or has looked and takes nothing any more", func() bool {
			select {
			case <-counter.Ended():
				ended = true
			default:
			}
			return ended || looked(counter, look, true)
		})
		stop()
		t.Logf("%s until the counter had just looked; the disk was full %s later; ended by itself: %v, %s after that", justLooked.Sub(began).Round(time.Millisecond),
			filled.Sub(justLooked).Round(time.Millisecond), ended, time.Since(filled).Round(time.Millisecond))
		if ended {
			failed++
			if log := counter.Log(); !strings.Contains(log, "no space left on device") {
				t.Errorf("the counter ended for another reason:\n%s", log)
			}
		}
		counter.Kill()
		if err := counter.Start(); err != nil { // it may serve reads, or end in words; it must lose nothing
			t.Fatal(err)
		}
		wait(t, time.Second)
		counter.Kill()
		if err := errors.Join(os.Remove(filler), os.Remove(ballast)); err != nil {
			t.Fatal(err)
		}
		if err := counter.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := shard.Leader(deadline(t, patience)); err != nil {
			t.Fatalf("with space again: %v\n%s", err, counter.Log())
		}
		buyers.check(shard)
	}
	if failed == 0 {
		t.Error("the disk was never full within the log")
	}
	t.Logf("the log's write failed %d times; %d orders were told and are there, %d requests had an unknown outcome", failed, buyers.bought.Load(), buyers.unknown.Load())
}

// smallDisk is a disk of its own: ext2, which gives files no space in advance.
func smallDisk(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, diskBytes)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), needProgram(t, "mkfs.ext2"), "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext2: %v: %s", err, out)
	}
	disk := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, disk).CombinedOutput(); err != nil {
		missing(t, "a small disk of its own needs root and a loop device: "+strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

var diskLine = regexp.MustCompile(`.*free disk space of the counter changed.*free_bytes=(\d+).*`)

// looked reports whether a counter has logged another look at its disk than before, and saw that it is almost full, or not.
func looked(counter *voters.Voter, before string, low bool) bool {
	found := diskLine.FindStringSubmatch(lastLook(counter))
	if found == nil || found[0] == before {
		return false
	}
	free, err := strconv.ParseInt(found[1], 10, 64)
	return err == nil && (free < diskLow) == low
}

// lastLook is what a counter logged of its last look that saw a change; "": nothing.
func lastLook(counter *voters.Voter) string {
	all := diskLine.FindAllString(counter.Log(), -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// hasJustLooked brings the disk to a little more than what counts as low, at a moment when the counter has just looked,
// and gives the file that takes the room.
func hasJustLooked(t *testing.T, disk string, counter *voters.Voter) (ballast string) {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, size := lastLook(counter), int64(0)
	for piece := make([]byte, 1<<20); freeOn(t, disk) > diskLow-diskMargin; size += int64(len(piece)) {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, patience, "the counter sees that the disk is almost full", func() bool { return looked(counter, before, true) })
	before = lastLook(counter)
	if err := f.Truncate(max(0, size-(diskLow+diskMargin-freeOn(t, disk)))); err != nil {
		t.Fatal(err)
	}
	waitFor(t, patience, "the counter sees that it is not", func() bool { return looked(counter, before, false) })
	return f.Name()
}

// freeOn is what is free on a disk, in bytes.
func freeOn(t *testing.T, disk string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(disk, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fillDisk takes all that is free, and gives the file that does.
func fillDisk(t *testing.T, disk string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range []int{1 << 20, 1 << 10} {
		for err = error(nil); err == nil; {
			_, err = f.Write(make([]byte, piece))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// diskCrowd reserves and confirms for one user after the other.
type diskCrowd struct {
	t       *testing.T
	address string
	next    atomic.Int64
	bought  atomic.Int64
	unknown atomic.Int64
	held    sync.Map // order -> user, of everybody who was told
	paid    sync.Map // order -> true, of those who were told that it is confirmed
}

// press starts buyers; what it returns stops them.
func (c *diskCrowd) press() (stop func()) {
	var stopped atomic.Bool
	var pressing sync.WaitGroup
	for range diskBuyers {
		pressing.Go(func() {
			conn, err := voters.Dial(c.address, patience)
			if err != nil {
				return
			}
			defer conn.Close()
			for !stopped.Load() && c.once(conn) {
			}
		})
	}
	return func() {
		stopped.Store(true)
		pressing.Wait()
	}
}

// flood reserves a lot at once, for people who hear nothing of it.
func (c *diskCrowd) flood(try int) {
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return // it has ended
	}
	defer conn.Close()
	var text strings.Builder
	key := strings.Repeat("k", 64)
	for i := range diskFlood {
		user := fmt.Sprintf("flood-%d-%d", try, i)
		fmt.Fprintf(&text, "*5\r\n$7\r\nRESERVE\r\n$4\r\nfull\r\n$%d\r\n%s\r\n$1\r\n1\r\n$64\r\n%s\r\n", len(user), user, key)
	}
	text.WriteString("*1\r\n$4\r\nQUIT\r\n")
	if _, err := io.WriteString(conn, text.String()); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, conn) // to its end, or the connection's
	}
}

// once buys one unit; false when the connection is of no more use.
func (c *diskCrowd) once(conn *voters.Conn) bool {
	user := "u" + strconv.FormatInt(c.next.Add(1), 10)
	reply, err := conn.Do(patience, "RESERVE", "full", user, "1", "")
	if list, _ := reply.([]any); err == nil && len(list) == 6 && list[0] == "reserved" {
		order, _ := list[1].(string)
		c.held.Store(order, user)
		reply, err = conn.Do(patience, "CONFIRM", order)
		if list, _ := reply.([]any); err == nil && len(list) == 1 && list[0] == "confirmed" {
			c.paid.Store(order, true)
			c.bought.Add(1)
			return true
		}
	}
	switch {
	case errors.Is(err, voters.ReplyError("TRYAGAIN")), errors.Is(err, voters.ReplyError("MOVED")):
		wait(c.t, diskRetry)
		return true // certainly not done
	case errors.Is(err, voters.ReplyError("UNKNOWN")), err != nil && !errors.As(err, new(voters.ReplyError)): // or the connection is lost
		c.unknown.Add(1)
		return false
	}
	c.t.Errorf("%s was told %v, %v", user, reply, err)
	return false
}

// check asks for every order that anybody was told of.
func (c *diskCrowd) check(shard *voters.Shard) {
	c.t.Helper()
	conn, err := voters.Dial(c.address, patience)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	c.held.Range(func(order, user any) bool {
		reply, err := conn.Do(patience, "ORDER", order.(string))
		f := voters.Fields(reply)
		_, paid := c.paid.Load(order)
		if err != nil || f["user"] != user || paid && f["state"] != "confirmed" {
			c.t.Errorf("order %s of %s, confirmed %v, is now %v, %v", order, user, paid, f, err)
			return false
		}
		return true
	})
	reply, err := shard.Do(deadline(c.t, patience), "AUDIT", "full")
	if f := voters.Fields(reply); err != nil || f["violation"] != "" {
		c.t.Errorf("AUDIT: %v, %v", f, err)
	}
}
