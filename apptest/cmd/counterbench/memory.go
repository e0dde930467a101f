//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func makeDir(in, name string) (string, error) {
	dir := filepath.Join(in, name)
	return dir, os.Mkdir(dir, 0o700)
}

// memory fills a counter with holds of distinct users without request keys, and looks at what they take:
// of the live heap after a collection, which is what the holds themselves need, and of the process as the
// system sees it, which includes what the collector keeps in reserve. Then it kills the counter and sees
// how long it takes until it serves again.
func memory(ctx context.Context, b *bench) error {
	c, err := startCounter(ctx, b.counter, b.dir)
	if err != nil {
		return err
	}
	defer func() { c.stop() }()
	emptyHeap, err := c.heap(ctx)
	if err != nil {
		return err
	}
	emptyRSS, err := c.RSS()
	if err != nil {
		return err
	}
	if err := c.open("memory", b.holds); err != nil { // no more, since memory is made ready for all units
		return err
	}
	if _, err := load(ctx, c, "memory", b.holds, 64); err != nil {
		return err
	}
	holds, err := c.sold("memory")
	if err != nil || holds < int64(b.holds)*99/100 {
		return errors.Join(fmt.Errorf("%d holds of %d were made", holds, b.holds), err)
	}
	fullRSS, err := c.RSS()
	if err != nil {
		return err
	}
	fullHeap, err := c.heap(ctx)
	if err != nil {
		return err
	}
	per := func(full, empty int64) float64 { return float64(full-empty) / float64(holds) }
	b.figure("bytes_per_hold", "%.0f (live heap after a collection; %d holds)", per(fullHeap, emptyHeap), holds)
	b.figure("rss_bytes_per_hold", "%.0f (resident memory at the end of the load, collector's reserve included)", per(fullRSS, emptyRSS))
	return revive(ctx, b, c, holds)
}

// revive kills the counter and starts it again on the same folder.
func revive(ctx context.Context, b *bench, c *counter, holds int64) error {
	addr := c.addr
	c.Kill()
	began := time.Now()
	if err := c.start(ctx, addr); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := c.sold("memory")
	if err != nil || after != holds {
		return errors.Join(fmt.Errorf("%d holds were made, %d are there after a restart", holds, after), err)
	}
	rss, err := c.RSS()
	if err != nil {
		return err
	}
	b.figure("recovery_seconds_per_million_holds", "%.2f (kill -9 to serving again, %d holds, snapshot and log as they happened to be; then %d MB resident)",
		took.Seconds()*1e6/float64(holds), holds, rss>>20)
	return nil
}

// heap is the live heap in bytes, right after a collection, as the program's profile tells it.
func (c *counter) heap(ctx context.Context) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.live+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "# HeapAlloc = "); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.Join(errors.New("the heap profile names no HeapAlloc"), lines.Err())
}
