package backup

import (
	"context"
	"errors"
	"io"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/service"
)

// Take writes the state of a running shard to a new file, and reads the file once before it gives it its
// name. Selling goes on.
func Take(ctx context.Context, c *client.Client, shard, path string, now time.Time) (Header, error) {
	var h Header
	var w *Writer
	err := c.Backup(ctx, shard, func(info client.BackupInfo) (_ io.Writer, err error) {
		h = Header{
			Shard: info.Shard, Number: info.Number, Applied: info.Applied, Size: info.Size,
			TakenAt: now.UTC().Round(time.Millisecond), Program: service.Version(),
		}
		w, err = Create(path, h)
		return w, err
	})
	switch {
	case w == nil && err == nil:
		return h, errors.New("the shard gave no backup")
	case w == nil:
		return h, err
	case err != nil:
		w.Abandon()
		return h, err
	}
	return h, w.Close()
}
