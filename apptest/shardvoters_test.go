package apptest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/voters"
)

const (
	hotStock    = 5_000 // for each round
	hotBuyers   = 24
	hotPace     = 20 * time.Millisecond // of a buyer while leaders are killed
	hotPatience = 3 * time.Second
	hotRetry    = 10 * time.Millisecond
)

// TestLeadersOfTwoShardsAreKilled sells one hot item from two shards of three voters each, while the leader of
// one or the other, or of both at once, is killed. Three of four buyers belong to the second shard, so that
// units are borrowed all the time. In the end every unit is sold, to one user each, and every order that a
// buyer was told of is there. HEADGATE_SHARD_KILLS sets the number of rounds.
func TestLeadersOfTwoShardsAreKilled(t *testing.T) {
	t.Parallel()
	rounds := int(envNumber(t, "HEADGATE_SHARD_KILLS", 4))
	shards := startCounter(t, 2)
	if err := shards[0].OpenSale(deadline(t, patience), "hot", rounds*hotStock, 1); err != nil {
		t.Fatal(err)
	}
	crowd := &hotCrowd{t: t, shards: shards, sale: "hot", stock: int64(rounds) * hotStock}
	crowd.pace.Store(int64(hotPace))
	ctx := deadline(t, time.Duration(2+rounds)*time.Minute)
	var buying sync.WaitGroup
	for range hotBuyers {
		buying.Go(func() { crowd.buy(ctx) })
	}
	for round := range rounds {
		before := crowd.sold.Load()
		for i, s := range shards {
			if round%3 != 2 && i != round%3 {
				continue // the first, the second, both at once
			}
			leader, err := s.Leader(ctx)
			if err != nil {
				t.Fatal(err)
			}
			leader.Kill()
			t.Logf("round %d: killed %s of %s", round, leader.ID, s.Name)
		}
		waitFor(t, patience, "people buy on", func() bool { return crowd.sold.Load() > before+100 || crowd.over.Load() > 0 })
		for _, s := range shards {
			for _, v := range s.Voters {
				if !v.Running() {
					if err := v.Start(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Whole(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if crowd.over.Load() > 0 {
		t.Error("the stock was sold before the last leader was killed: nothing was shown")
	}
	crowd.pace.Store(0)
	buying.Wait()
	crowd.check(ctx)
}

// startCounter runs shards of three voters until the test ends.
func startCounter(t *testing.T, count int) []*voters.Shard {
	t.Helper()
	shards, err := voters.NewCounter(bin.Path("counter"), t.TempDir(), count, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range shards {
			s.Close()
			for _, v := range s.Voters {
				if t.Failed() {
					t.Log(s.Name, v.Log())
				}
			}
		}
	})
	for _, s := range shards {
		if err := s.Start(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	return shards
}

// hotCrowd buys one unit for each user.
type hotCrowd struct {
	t      *testing.T
	shards []*voters.Shard
	sale   string
	stock  int64
	pace   atomic.Int64 // ns between two users of a buyer
	next   atomic.Int64 // user
	sold   atomic.Int64
	over   atomic.Int64 // buyers who were told that all is sold
	told   sync.Map     // order -> user
}

// buy lets one user after the other press until there is a definite answer, until all is sold.
func (c *hotCrowd) buy(ctx context.Context) {
	d := &hotDialer{shards: c.shards, conns: make(map[string]*voters.Conn), leaders: make(map[*voters.Shard]string)}
	defer d.hangUp()
	for ctx.Err() == nil {
		number := c.next.Add(1)
		user := "u" + strconv.FormatInt(number, 10)
		reply, home, err := c.reserve(ctx, d, user, number%4 == 0)
		if err != nil {
			c.t.Errorf("%s: %v", user, err)
			return
		}
		if home == nil {
			continue // of the other shard: three of four come from the second
		}
		switch reply[0] {
		case "reserved", "already":
			order, _ := reply[1].(string)
			codes, err := d.ask(ctx, home, "CONFIRM", order)
			if list, _ := codes.([]any); err != nil || len(list) != 1 || list[0] != "confirmed" {
				c.t.Errorf("%s: confirming %s: %v, %v", user, order, codes, err)
				return
			}
			if other, twice := c.told.LoadOrStore(order, user); twice {
				c.t.Errorf("order %s is told to %s and %v", order, user, other)
			}
			c.sold.Add(1)
		case "sold_out":
			c.over.Add(1)
			return
		default:
			c.t.Errorf("%s: %v", user, reply)
			return
		}
		wait(c.t, time.Duration(c.pace.Load()))
	}
}

// reserve gives the answer of the user's shard; no shard when it is the first one and only users of the
// second are wanted.
func (c *hotCrowd) reserve(ctx context.Context, d *hotDialer, user string, either bool) ([]any, *voters.Shard, error) {
	for i := len(c.shards) - 1; i >= 0; i-- {
		reply, err := d.ask(ctx, c.shards[i], "RESERVE", c.sale, user, "1", "k")
		switch {
		case errors.Is(err, voters.ReplyError("WRONGSHARD")) && i > 0 && either:
			continue
		case errors.Is(err, voters.ReplyError("WRONGSHARD")) && i > 0:
			return nil, nil, nil
		case err != nil:
			return nil, nil, err
		}
		list, _ := reply.([]any)
		return append(list, "", "")[:max(2, len(list))], c.shards[i], nil
	}
	return nil, nil, fmt.Errorf("no shard wants %s", user)
}

// check holds what the shards say in the end against what buyers were told.
func (c *hotCrowd) check(ctx context.Context) {
	c.t.Helper()
	var confirmed, given, taken int64
	for _, s := range c.shards {
		reply, err := s.Do(ctx, "AUDIT", c.sale)
		if err != nil {
			c.t.Fatal(err)
		}
		f := voters.Fields(reply)
		number := func(name string) int64 {
			n, err := strconv.ParseInt(f[name], 10, 64)
			if err != nil {
				c.t.Errorf("%s: %s is %q", s.Name, name, f[name])
			}
			return n
		}
		if f["violation"] != "" || number("alloc")+number("taken")-number("given") != number("scheduled")+number("available")+number("held")+number("confirmed") {
			c.t.Errorf("the audit of %s does not hold: %v", s.Name, f)
		}
		if number("available") != 0 || number("held") != 0 {
			c.t.Errorf("%s keeps units: %v", s.Name, f)
		}
		confirmed, given, taken = confirmed+number("confirmed"), given+number("given"), taken+number("taken")
	}
	if confirmed != c.stock || c.sold.Load() != c.stock || given != taken || taken == 0 {
		c.t.Errorf("of %d units %d are confirmed, %d were told to buyers; %d given, %d taken", c.stock, confirmed, c.sold.Load(), given, taken)
	}
	users := make(map[any]bool)
	c.told.Range(func(order, user any) bool {
		if users[user] {
			c.t.Errorf("%v has two", user)
		}
		users[user] = true
		return true
	})
	c.t.Logf("%d users bought, %d units went from one shard to the other", len(users), taken)
}

// hotDialer keeps a connection to the leader of each shard.
type hotDialer struct {
	shards  []*voters.Shard
	conns   map[string]*voters.Conn
	leaders map[*voters.Shard]string
	turn    int
}

// ask repeats a command, which must be harmless to repeat, until a leader has decided it.
func (d *hotDialer) ask(ctx context.Context, s *voters.Shard, args ...string) (any, error) {
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		address := d.leaders[s]
		if address == "" {
			d.turn++
			address = s.Addresses()[d.turn%len(s.Voters)]
		}
		reply, err := d.once(address, args)
		var refused voters.ReplyError
		switch {
		case err == nil:
			d.leaders[s] = address
			return reply, nil
		case errors.As(err, &refused) && strings.HasPrefix(string(refused), "MOVED "):
			d.leaders[s] = string(refused)[strings.LastIndexByte(string(refused), ' ')+1:]
			continue
		case errors.As(err, &refused) && (errors.Is(err, voters.ReplyError("TRYAGAIN")) || errors.Is(err, voters.ReplyError("BUSY"))):
			// it leads, and cannot decide now
		case errors.As(err, &refused) && !errors.Is(err, voters.ReplyError("UNKNOWN")):
			d.leaders[s] = address
			return nil, err
		default: // unknown, or the connection is lost
			delete(d.leaders, s)
		}
		timer := time.NewTimer(hotRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (d *hotDialer) once(address string, args []string) (any, error) {
	c := d.conns[address]
	if c == nil {
		var err error
		if c, err = voters.Dial(address, hotPatience); err != nil {
			return nil, err
		}
		d.conns[address] = c
	}
	reply, err := c.Do(hotPatience, args...)
	if err != nil && !errors.As(err, new(voters.ReplyError)) {
		c.Close()
		delete(d.conns, address)
	}
	return reply, err
}

func (d *hotDialer) hangUp() {
	for _, c := range d.conns {
		c.Close()
	}
}
