package client

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/redis/rueidis"
)

// BackupInfo describes the backup that a shard has begun.
type BackupInfo struct {
	Shard   string
	Number  int
	Applied uint64 // the last log entry in it
	Size    int64  // bytes
}

// maxBackupChunk bounds what is believed of one BACKUP.READ.
const maxBackupChunk = 1 << 20

// Backup copies the state of a running shard, as it is after everything acknowledged before the call.
// Selling goes on. begin is told what will come and gives the writer for it. The shard keeps one backup
// at a time: ErrBusy when another is under way. The timeout of the config bounds each step, not the whole.
func (c *Client) Backup(ctx context.Context, shard string, begin func(BackupInfo) (io.Writer, error)) error {
	s := c.byName[shard]
	if s == nil {
		return &RequestError{Field: "shard", Reason: fmt.Sprintf("%q is not a shard of this client's config", shard)}
	}
	message, err := s.do(ctx, operator, reads, "BACKUP.OPEN")
	if err != nil {
		return err
	}
	r := readRow(message)
	id, info := r.text("backup"), BackupInfo{Shard: r.text("shard"), Number: int(r.number("number")), Applied: uint64(r.number("applied")), Size: r.number("size")}
	if r.err != nil {
		return r.err
	}
	defer s.do(context.WithoutCancel(ctx), operator, reads, "BACKUP.CLOSE", id) //nolint:errcheck // the shard forgets it by itself
	if info.Shard != s.Name || info.Number != s.Number {
		return &RequestError{Field: "shard", Reason: fmt.Sprintf("the counter there is shard %q number %d, the config says %q number %d", info.Shard, info.Number, s.Name, s.Number)}
	}
	to, err := begin(info)
	if err != nil {
		return err
	}
	for offset := int64(0); offset < info.Size; {
		message, err := s.do(ctx, operator, reads, "BACKUP.READ", id, strconv.FormatInt(offset, 10))
		if err != nil {
			return err
		}
		chunk, err := readChunk(message, info.Size-offset)
		if err != nil {
			return err
		}
		if _, err := to.Write(chunk); err != nil {
			return err
		}
		offset += int64(len(chunk))
	}
	return nil
}

func readChunk(m rueidis.RedisMessage, left int64) ([]byte, error) {
	chunk, err := m.AsBytes()
	if err != nil {
		return nil, malformed("want bytes of a backup: %v", err)
	}
	if len(chunk) == 0 || len(chunk) > maxBackupChunk || int64(len(chunk)) > left {
		return nil, malformed("%d bytes of a backup, with %d to come", len(chunk), left)
	}
	return chunk, nil
}
