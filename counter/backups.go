package counter

import (
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

const (
	// backupChunk bytes at most are read by one BACKUP.READ.
	backupChunk = 256 << 10
	// backupIdle is how long an open backup keeps others away after it was last read.
	backupIdle = 30 * time.Second
)

// backups holds the one backup that may be read at a time. Its lock is held over reads of the disk, and
// nothing else is locked inside it.
type backups struct {
	mu     sync.Mutex
	id     string
	open   *replica.Backup // nil: none
	used   time.Time
	making bool
	closed bool
}

var (
	errBackupBusy = errors.New("another backup is being read: let it end, or try again half a minute after it was given up")
	errNoBackup   = errors.New("is not open here: the counter was restarted, or the backup was idle for too long: begin again")
)

// begin claims the place of the one backup; make fills it.
func (b *backups) begin(make func() (*replica.Backup, error)) (id string, made *replica.Backup, err error) {
	if !b.claim() {
		return "", nil, errBackupBusy
	}
	made, err = make()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.making = false
	if err != nil {
		return "", nil, err
	}
	b.id, b.open, b.used = rand.Text(), made, time.Now()
	if b.closed {
		b.drop()
	}
	return b.id, made, nil
}

func (b *backups) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.making || b.open != nil && time.Since(b.used) < backupIdle {
		return false
	}
	b.drop()
	b.making = true
	return true
}

func (b *backups) read(id string, offset int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil || b.id != id {
		return nil, errNoBackup
	}
	b.used = time.Now()
	chunk := make([]byte, min(backupChunk, max(0, b.open.Size-offset)))
	n, err := b.open.File.ReadAt(chunk, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return chunk[:n], nil
}

func (b *backups) end(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.id == id {
		b.drop()
	}
}

// close ends the open backup, and lets no other begin.
func (b *backups) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.drop()
}

func (b *backups) drop() {
	if b.open != nil {
		_ = b.open.File.Close() // it was only read
	}
	b.id, b.open = "", nil
}

// answerBackupOpen writes a snapshot and opens it for BACKUP.READ: [backup, id, shard, name, number, n,
// applied, index, size, bytes].
func answerBackupOpen(c *conn, _ [][]byte) {
	id, made, err := c.srv.backups.begin(func() (*replica.Backup, error) { return c.srv.replica.Backup(c.srv.cfg.Limits.ReadWait) })
	switch {
	case errors.Is(err, errBackupBusy):
		c.out.Error(errorReply(problem.RESPBusy, err.Error()))
		return
	case err != nil:
		c.out.Error(c.replicaError(err))
		return
	}
	c.srv.rt.Log.Info("a backup is being read", "client", c.remote.String(), "applied", made.Applied, "bytes", made.Size)
	f := fields{}
	f.text("backup", id)
	f.text("shard", c.srv.cfg.Shard.Name)
	f.number("number", int64(c.srv.cfg.Shard.Number))
	f.number("applied", int64(made.Applied))
	f.number("size", made.Size)
	f.write(c.out)
}

// answerBackupRead gives the bytes at an offset, at most backupChunk, and none at the end.
func answerBackupRead(c *conn, args [][]byte) {
	offset, err := number("offset", args[2])
	if err == nil && offset < 0 {
		err = &sale.FieldError{Field: "offset", Reason: "must not be negative"}
	}
	if err != nil {
		c.out.Error(errorText(err))
		return
	}
	chunk, err := c.srv.backups.read(string(args[1]), offset)
	if err != nil {
		c.out.Error(errorText(&sale.FieldError{Field: "backup", Reason: err.Error()}))
		return
	}
	c.out.Bulk(string(chunk))
}

func answerBackupClose(c *conn, args [][]byte) {
	c.srv.backups.end(string(args[1]))
	c.out.Simple("OK")
}
