//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"headgate.example/apptest/measure"
)

const (
	// quotaShare of a core is what each process may use: so little that the crowd is never what limits.
	quotaShare = 0.2
	// crowdConnections in all, however many shards they are spread over.
	crowdConnections = 48
	// crowdUsers who know their shard. Sales are new for each run, so users press in each of them.
	crowdUsers = 400_000
)

// formation is the shards of a sale, as processes of this machine.
type formation struct {
	names  []string
	procs  []*counter
	quotas []*quota
}

// startShards starts lone voters that list each other as peers.
func startShards(ctx context.Context, b *bench, names ...string) (_ *formation, err error) {
	f := &formation{names: names}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	addresses := make([][2]string, len(names)) // for clients, for operators
	free, err := measure.FreeAddresses(2 * len(names))
	if err != nil {
		return nil, err
	}
	for i := range addresses {
		copy(addresses[i][:], free[2*i:])
	}
	for i, name := range names {
		dir, err := makeDir(b.dir, fmt.Sprintf("%s-of-%d", name, len(names)))
		if err != nil {
			return nil, err
		}
		var peers strings.Builder
		for j, other := range names {
			if j != i {
				fmt.Fprintf(&peers, "  - {name: %s, number: %d, addresses: [%q]}\n", other, j, addresses[j][0])
			}
		}
		c := &counter{file: filepath.Join(dir, "counter.yaml"), dir: dir, path: b.counter, live: addresses[i][1]}
		text := fmt.Sprintf("service: {admin: %q, log_format: text}\nlisten: %q\nraft_listen: \"\"\ndata_dir: %q\nshard: {name: %s, number: %d}\nbootstrap: true\npeers:\n%s",
			addresses[i][1], addresses[i][0], filepath.Join(dir, "counter"), name, i, peers.String())
		if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		if err := c.start(ctx, addresses[i][0]); err != nil {
			return nil, err
		}
		f.procs = append(f.procs, c)
	}
	return f, nil
}

// limit puts each process under a quota of its own.
func (f *formation) limit(share float64) error {
	for i, c := range f.procs {
		q, err := newQuota(fmt.Sprintf("%s-of-%d", f.names[i], len(f.names)), share)
		if err != nil {
			return err
		}
		f.quotas = append(f.quotas, q)
		if err := q.hold(c.PID()); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the processes, and then the groups that they were in.
func (f *formation) stop() (err error) {
	for _, c := range f.procs {
		c.Kill()
	}
	for _, q := range f.quotas {
		err = errors.Join(err, q.close())
	}
	return err
}

// tell sends a command to each shard.
func (f *formation) tell(command ...string) error {
	for _, c := range f.procs {
		if err := c.must(command...); err != nil {
			return err
		}
	}
	return nil
}

// open opens a sale over all shards. It is paused.
func (f *formation) open(sale string, stock int) error {
	text, err := terms(sale, stock, f.names...)
	if err != nil {
		return err
	}
	return f.tell("SALE.OPEN", text)
}

// sold is what all shards hold of a sale.
func (f *formation) sold(sale string) (units int64, err error) {
	for _, c := range f.procs {
		n, err := c.sold(sale)
		if err != nil {
			return 0, err
		}
		units += n
	}
	return units, nil
}

func (f *formation) cpuSeconds() (all float64, err error) {
	for _, c := range f.procs {
		one, err := c.cpuSeconds()
		if err != nil {
			return 0, err
		}
		all += one
	}
	return all, nil
}

// crowd spreads the connections over the shards. With only set, all its users are those of one shard;
// they press at whatever shard serves them.
func (f *formation) crowd(users [][]uint32, only int) []part {
	if only >= 0 {
		users = users[only : only+1]
	}
	if len(f.procs) == 1 {
		return []part{{f.procs[0].addr, crowdConnections, slices.Concat(users...)}}
	}
	var parts []part
	for i := range users {
		parts = append(parts, part{f.procs[max(only, i)].addr, crowdConnections / len(users), users[i]})
	}
	return parts
}

// measured is one run of a crowd.
type measured struct {
	rate   float64 // decisions a second
	cpu    float64 // seconds of all processes for one decision
	cores  float64 // that all processes used
	others map[string]int64
}

// contest is one comparison of two shards with one.
type contest struct {
	name string
	only int  // the crowd is that shard's users; -1: of all
	dry  bool // everything is sold out
	to   bool // up to the last unit; else for a time
}

// once runs one crowd at a new sale, and makes sure that what was answered is what the contest is about.
func (f *formation) once(ctx context.Context, b *bench, c contest, sale string, users [][]uint32, units int) (*measured, error) {
	if err := errors.Join(f.open(sale, units), f.tell("SALE.RESUME", sale, "2")); err != nil {
		return nil, err
	}
	p := &press{sale: sale}
	within := b.run
	if c.to {
		p.until, within = int64(units), startWithin
	}
	before, err := f.cpuSeconds()
	if err != nil {
		return nil, err
	}
	told, err := p.run(ctx, f.crowd(users, c.only), within)
	if err != nil {
		return nil, err
	}
	after, err := f.cpuSeconds()
	if err != nil {
		return nil, err
	}
	sold, err := f.sold(sale)
	if err != nil {
		return nil, err
	}
	reserved := told.codes["reserved"]
	switch {
	case sold != reserved:
		return nil, fmt.Errorf("%d were told that they have a unit, %d are held", reserved, sold)
	case c.to && sold != int64(units):
		return nil, fmt.Errorf("of %d units %d were sold: %v", units, sold, told.codes)
	case !c.to && !c.dry && told.codes["sold_out"] > 0, told.decided() == 0:
		return nil, fmt.Errorf("the crowd was told %v", told.codes)
	}
	seconds := told.took.Seconds()
	m := &measured{rate: float64(told.decided()) / seconds, cpu: (after - before) / float64(told.decided()),
		cores: (after - before) / seconds, others: told.codes}
	delete(m.others, "reserved")
	delete(m.others, "sold_out")
	return m, nil
}

func (m *measured) undecided() (n int64) {
	for _, count := range m.others {
		n += count
	}
	return n
}

// shards compares two shards with one, each process with the same share of a core, at one sale that all
// want. The connections are as many in all, so that two shards see half of the crowd each.
func shards(ctx context.Context, b *bench) (err error) {
	one, err := startShards(ctx, b, "s1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	two, err := startShards(ctx, b, "s1", "s2")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, two.stop()) }()
	const unopened = "who-belongs-where"
	if err := two.open(unopened, 0); err != nil {
		return err
	}
	users, err := sortUsers(two.procs[0].addr, unopened, crowdUsers)
	if err != nil {
		return err
	}
	b.figure("shards2.users_of_the_first", "%.3f (of %d, by the ring)", float64(len(users[0]))/crowdUsers, crowdUsers)
	limited := fmt.Sprintf("a quota of %.0f %% of a core for each process", 100*quotaShare)
	if err := tryQuota(); err != nil {
		limited = fmt.Sprintf("NO QUOTA, the processes share the machine (%v)", err)
	} else if err := errors.Join(one.limit(quotaShare), two.limit(quotaShare)); err != nil {
		return err
	}
	b.figure("shards2.limit", "%s; %d connections in all, %d requests each under way", limited, crowdConnections, pressDepth)
	for _, c := range []contest{
		{name: "sell", only: -1},
		{name: "refuse", only: -1, dry: true},
		{name: "to_the_last", only: -1, to: true},
		{name: "borrow", only: 1, to: true},
	} {
		if err := c.compare(ctx, b, one, two, users); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// compare runs both in turn and prints the medians of what they need.
func (c contest) compare(ctx context.Context, b *bench, one, two *formation, users [][]uint32) error {
	sides := [2]*formation{one, two}
	units := stock
	if c.dry {
		units = 0
	}
	if c.to { // as many as one shard sells in a run
		m, err := one.once(ctx, b, contest{only: c.only}, c.name+"-probe", users, stock)
		if err != nil {
			return err
		}
		units = min(max(int(m.rate*b.run.Seconds()), 1000), len(users[1])*9/10)
	}
	var runs [2][]*measured
	for pair := range b.pairs {
		for turn := range sides {
			side := (turn + pair) % 2 // each goes first in half of the pairs
			m, err := sides[side].once(ctx, b, c, fmt.Sprintf("%s-%d", c.name, pair), users, units)
			if err != nil {
				return fmt.Errorf("with %d shards: %w", 1+side, err)
			}
			runs[side] = append(runs[side], m)
		}
	}
	c.print(b, runs)
	return nil
}

func (c contest) print(b *bench, runs [2][]*measured) {
	var rates, cpus []float64
	for pair := range runs[0] {
		rates = append(rates, runs[1][pair].rate/runs[0][pair].rate)
		cpus = append(cpus, runs[1][pair].cpu/runs[0][pair].cpu)
	}
	of := func(side int, get func(*measured) float64) float64 {
		var all []float64
		for _, m := range runs[side] {
			all = append(all, get(m))
		}
		return measure.Median(all)
	}
	rate := func(m *measured) float64 { return m.rate }
	cpu := func(m *measured) float64 { return m.cpu * 1e6 }
	cores := func(m *measured) float64 { return m.cores }
	var undecided int64
	for _, m := range runs[1] {
		undecided += m.undecided()
	}
	b.figure("shards2."+c.name+".rps_vs_one", "%.2f (%d pairs, %.2f to %.2f; two %.0f/s on %.2f cores, one %.0f/s on %.2f cores; %d undecided answers)",
		measure.Median(rates), len(rates), slices.Min(rates), slices.Max(rates), of(1, rate), of(1, cores), of(0, rate), of(0, cores), undecided)
	b.figure("shards2."+c.name+".cpu_seconds_per_decision_vs_one", "%.2f (%.2f to %.2f; two %.2f us, one %.2f us)",
		measure.Median(cpus), slices.Min(cpus), slices.Max(cpus), of(1, cpu), of(0, cpu))
}
