package voters

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	loadClients  = 16
	loadPause    = 5 * time.Millisecond // after an answer that was none
	loadPatience = time.Second
	wholeWithin  = 60 * time.Second
)

// Load buys without a pause from whoever leads.
type Load struct {
	shard   *Shard
	sale    string
	stop    context.CancelFunc
	pressed sync.WaitGroup

	next    atomic.Int64 // user
	bought  atomic.Int64
	killed  atomic.Int64 // the moment since which a success is waited for, in ns since start; 0: none
	start   time.Time
	success chan time.Duration // since killed, of the first request begun after it
}

// Press starts buyers on an open sale.
func (s *Shard) Press(sale string) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{shard: s, sale: sale, stop: cancel, start: time.Now(), success: make(chan time.Duration, 1)}
	for i := range loadClients {
		l.pressed.Go(func() { l.press(ctx, s.Voters[i%len(s.Voters)].Client) })
	}
	return l
}

// Stop ends the buyers, and gives how many units they were told to have.
func (l *Load) Stop() int64 {
	l.stop()
	l.pressed.Wait()
	return l.bought.Load()
}

func (l *Load) press(ctx context.Context, address string) {
	at := 0
	elsewhere := func() string {
		at = (at + 1) % len(l.shard.Voters)
		return l.shard.Voters[at].Client
	}
	for ctx.Err() == nil {
		c, err := Dial(address, loadPatience)
		if err != nil {
			address = elsewhere()
			pause(ctx, loadPause)
			continue
		}
		for ctx.Err() == nil {
			began := time.Since(l.start)
			reply, err := c.Do(loadPatience, "RESERVE", l.sale, "u"+strconv.FormatInt(l.next.Add(1), 10), "1", "k")
			var refused ReplyError
			switch {
			case err == nil && isReserved(reply):
				l.bought.Add(1)
				l.tell(began)
				continue
			case errors.As(err, &refused) && strings.HasPrefix(string(refused), "MOVED "):
				address = string(refused)[strings.LastIndexByte(string(refused), ' ')+1:]
			default:
				address = elsewhere()
			}
			break
		}
		c.Close()
		pause(ctx, loadPause)
	}
}

func isReserved(reply any) bool {
	list, _ := reply.([]any)
	return len(list) == 6 && list[0] == "reserved"
}

// tell reports the first success that began after the kill.
func (l *Load) tell(began time.Duration) {
	killed := l.killed.Load()
	if killed != 0 && began.Nanoseconds() > killed && l.killed.CompareAndSwap(killed, 0) {
		l.success <- time.Since(l.start) - time.Duration(killed)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// KillLeader ends the leader with kill -9 and gives the time until a buyer's next success. Then it starts the voter
// again and waits until the shard is whole.
func (l *Load) KillLeader(ctx context.Context) (time.Duration, error) {
	leader, err := l.shard.Leader(ctx)
	if err != nil {
		return 0, err
	}
	l.killed.Store(time.Since(l.start).Nanoseconds())
	leader.Kill()
	var took time.Duration
	select {
	case took = <-l.success:
	case <-ctx.Done():
		return 0, fmt.Errorf("nobody could buy after %s was killed: %w", leader.ID, ctx.Err())
	}
	if err := leader.Start(); err != nil {
		return 0, err
	}
	return took, l.shard.Whole(ctx)
}

// Whole waits until every voter follows the leader and has what it has, give or take what is under way.
func (s *Shard) Whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeWithin)
	defer cancel()
	for {
		reply, err := s.Do(ctx, "VOTERS")
		list, _ := reply.([]any)
		up := 0
		var behind, most int64
		for _, v := range list {
			f := Fields(v)
			if f["reachable"] == "1" && f["votes"] == "1" {
				up++
			}
			applied, _ := strconv.ParseInt(f["applied"], 10, 64)
			if most = max(most, applied); behind == 0 || applied < behind {
				behind = applied
			}
		}
		const near = 5000 // entries, since the figures are up to a second old
		if up == len(s.Voters) && most-behind < near {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the shard is not whole again: %v, %w", list, errors.Join(err, ctx.Err()))
		}
		pause(ctx, askEvery)
	}
}
