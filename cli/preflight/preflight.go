package preflight

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"headgate.example/cli"
	"headgate.example/counter/client"
)

// Bounds of a preflight: what takes longer counts as unreachable.
const (
	askWithin   = 5 * time.Second // one question to an admin port, a shard, the database or the broker
	auditWithin = 2 * time.Minute
)

// Options say what to look at.
type Options struct {
	Sale string
	// Admins are the admin ports of all programs, host:port. Default: those that the config names.
	Admins []string
	// Settle is how long to look again while ledger and counter have not settled.
	Settle time.Duration
	// Rate is the wanted decisions a second; 0: not asked.
	Rate float64
	// Measured is what a rehearsal measured; nil: nothing is known.
	Measured *Measured
	Log      *slog.Logger // of the database and the queue; nil discards
	Now      func() time.Time
}

// preflight is one run.
type preflight struct {
	Options
	cfg     cli.Config
	http    *http.Client
	counter *client.Client
	// programs are those whose admin ports answered.
	programs []program
	mu       sync.Mutex
	clocks   []clock      // guarded by mu
	voters   []voterClock // guarded by mu until lookAtCounter has asked all
}

// Run looks at everything. It takes as long as the slowest question, some seconds where something is away, and
// the audit. After ctx has ended the report is of no use.
func Run(ctx context.Context, cfg cli.Config, o Options) Report {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Admins) == 0 {
		o.Admins = cfg.AdminAddresses()
	}
	p := &preflight{Options: o, cfg: cfg, http: &http.Client{Timeout: askWithin}}
	defer p.http.CloseIdleConnections()
	began := o.Now()
	report := Report{Sale: o.Sale, At: began.UTC()}
	report.Lines = p.run(ctx)
	report.Word = worst(report.Lines)
	report.Took = o.Now().Sub(began).Round(time.Millisecond).String()
	return report
}

func (p *preflight) run(ctx context.Context) []Line {
	counter, err := client.Open(p.cfg.Backend.Counter)
	if err != nil { // the config was wrong all along: clients connect later
		return []Line{fail("counter", "mend backend.counter in the operator's config", "%v", err)}
	}
	p.counter = counter
	defer counter.Close()
	programs := p.lookAtPrograms(ctx)
	// Each part asks others, and they do not wait for each other.
	parts := make([][]Line, 4)
	var group sync.WaitGroup
	for i, part := range []func(context.Context) []Line{p.lookAtCounter, p.lookAtBooks, p.lookAtEdges, p.lookAtWay} {
		group.Go(func() { parts[i] = part(ctx) })
	}
	group.Wait()
	lines := append(programs, p.compareConfigs()...)
	lines = append(lines, parts[0]...)
	lines = append(lines, compareClocks(p.clocks)...)
	for _, part := range parts[1:] {
		lines = append(lines, part...)
	}
	return append(lines, p.lookAtCapacity())
}

// saw notes somebody's clock.
func (p *preflight) saw(c clock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clocks = append(p.clocks, c)
}
