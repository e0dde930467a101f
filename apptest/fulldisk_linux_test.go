package apptest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	diskBytes  = 16 << 20
	diskBuyers = 16
)

// TestDiskIsFullWithinTheLog fills the disk that the log of a running counter is on, beside the one whose free space
// the counter watches, which gives log files no space in advance: the log's own write fails. Whoever was told
// something keeps it, the program ends in words, cannot lose anything at starts without space, and goes on
// when there is some.
func TestDiskIsFullWithinTheLog(t *testing.T) {
	t.Parallel()
	shard, err := voters.New(bin.Path("counter"), t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shard.Close)
	counter := shard.Voters[0]
	if err := shard.Start(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	counter.Kill()
	disk := filepath.Join(counter.Folder(), "log")
	smallDisk(t, disk)
	if err := counter.Start(); err != nil {
		t.Fatal(err)
	}
	if err := shard.OpenSale(deadline(t, patience), "full", 10_000_000, 1); err != nil {
		t.Fatal(err)
	}
	buyers := &diskCrowd{t: t, address: counter.Client}
	for range 2 {
		stop := buyers.press()
		before := buyers.bought.Load()
		waitFor(t, patience, "people buy", func() bool { return buyers.bought.Load() > before+500 })
		filler := fillDisk(t, disk)
		select {
		case <-counter.Ended():
		case <-time.After(patience):
			t.Error("the counter goes on without space for its log")
		}
		stop()
		if log := counter.Log(); !strings.Contains(log, "no space left on device") {
			t.Errorf("the counter ended for another reason:\n%s", log)
		}
		counter.Kill()
		if err := counter.Start(); err != nil { // it may serve reads, or end in words; it must lose nothing
			t.Fatal(err)
		}
		wait(t, time.Second)
		counter.Kill()
		if err := os.Remove(filler); err != nil {
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
	t.Logf("%d orders were told and are there, %d requests had an unknown outcome", buyers.bought.Load(), buyers.unknown.Load())
}

// smallDisk puts a folder, with what it holds, on a disk of its own: ext2, which gives files no space in advance.
func smallDisk(t *testing.T, folder string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, diskBytes)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), needProgram(t, "mkfs.ext2"), "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext2: %v: %s", err, out)
	}
	moved := folder + ".before"
	if err := errors.Join(os.Rename(folder, moved), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, folder).CombinedOutput(); err != nil {
		missing(t, "a small disk of its own needs root and a loop device: "+strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if out, err := exec.CommandContext(t.Context(), "cp", "--recursive", "--sparse=always", moved+"/.", folder).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	if err := errors.Join(os.Remove(filepath.Join(folder, "lost+found")), os.RemoveAll(moved)); err != nil {
		t.Fatal(err)
	}
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
		return true // certainly not done
	case errors.Is(err, voters.ReplyError("UNKNOWN")), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
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
	reply, err := shard.Do(deadline(c.t, 30*time.Second), "AUDIT", "full")
	if f := voters.Fields(reply); err != nil || f["violation"] != "" {
		c.t.Errorf("AUDIT: %v, %v", f, err)
	}
}
