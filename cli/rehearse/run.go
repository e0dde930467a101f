package rehearse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/cli"
	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Options say where to rehearse.
type Options struct {
	Spec   Spec
	Config cli.Config // the operator's, of the deployment
	Edge   string     // http://host:port
	// Admins are admin ports of edges, http://host:port, whose counts are reported; may be empty.
	Admins []string
	// Control and Members are a cluster's, whose members may be broken; nil and empty: nothing can be.
	Control *Control
	Members []Member
	// Say is told how it goes, about once a second; from one goroutine at a time.
	Say func(line string)
	Log *slog.Logger
}

// Bounds of a run.
const (
	openWithin  = 30 * time.Second // for creating and opening the sales
	leadTime    = 300 * time.Millisecond
	calmDown    = 20 * time.Second // after the last planned press: retries and what orders need
	closeWithin = 15 * time.Second
)

// run is a rehearsal under way.
type run struct {
	Options
	plan     *Plan
	report   *Report
	api      *cli.API
	start    time.Time
	sales    []string // the crowd's, the probes'
	prefix   string
	crowd    *crowd
	figures  *Progress
	backlog  store.Backlog // before
	sampler  *sampler
	before   Cluster
	closing  Closing
	closers  int32 // number of the first
	probes   int32
	said     sync.Mutex
	interval time.Duration
}

// Run rehearses: it opens two sales, lets the crowd of the drawn plan press, breaks what the plan breaks, waits
// until everything has settled, closes the sales and judges. An error means that there was nothing to judge: the
// deployment cannot be reached, or ctx ended. What it broke is whole again when it returns.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Spec.Check(); err != nil {
		return nil, err
	}
	r := &run{Options: o, plan: Draw(o.Spec, o.Members), figures: &Progress{}, interval: time.Second}
	r.interval = max(r.interval, o.Config.Interceptor.Limits.UserInterval.Every)
	r.report = &Report{
		Seed: o.Spec.Seed, Plan: r.plan.Digest(), Shape: r.plan.Shape(), Machine: thisMachine(), Opens: int64(r.plan.Opens), Duration: int64(o.Spec.Duration),
		Deployment: Deployment{Edge: o.Edge, Members: o.Members}, Faults: []Broken{}, Died: []string{}, Notes: []string{},
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer r.crowd.client.close()
	defer r.closeSales(ctx)
	own := ownCPU()
	if err := r.press(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	if err := r.judge(ctx, own); err != nil {
		return nil, err
	}
	r.report.Took = int64(time.Since(r.start))
	r.report.conclude()
	return r.report, nil
}

// prepare finds out that everything can be reached, signs everybody's token and opens the sales.
func (r *run) prepare(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	name := strconv.FormatInt(time.Now().UnixMilli(), 36)
	r.sales = []string{"rehearsal-" + name, "rehearsal-" + name + "-probe"}
	r.prefix = "r" + name
	plans := len(r.plan.Buyers) + len(r.plan.Probes) + len(r.plan.Closers)
	r.say(fmt.Sprintf("signing %d tokens", plans))
	tokens, err := r.sign(plans)
	if err != nil {
		return err
	}
	client, err := newHTTPClient(r.Edge, r.Spec.Connections, r.Spec.Timeout)
	if err != nil {
		return err
	}
	api, err := cli.NewAPI(r.Edge, r.Config.Tokens())
	if err != nil {
		return err
	}
	r.api = api
	if err := r.canPay(ctx); err != nil {
		return err
	}
	if err := r.openSales(ctx); err != nil {
		client.close()
		r.closeSales(ctx)
		return err
	}
	r.crowd = newCrowd(client, r.Spec.Connections, r.start, r.Spec.Seed, r.figures)
	r.crowd.sales = r.sales
	first := r.crowd.add(r.plan.Buyers, tokens[:len(r.plan.Buyers)])
	tokens = tokens[len(r.plan.Buyers):]
	r.probes = r.crowd.add(r.plan.Probes, tokens[:len(r.plan.Probes)])
	r.closers = r.crowd.add(r.plan.Closers, tokens[len(r.plan.Probes):])
	r.crowd.come(first, func(i int) time.Duration { return r.plan.Buyers[i].At }, len(r.plan.Buyers))
	r.crowd.come(r.probes, func(i int) time.Duration { return r.plan.Probes[i].At }, len(r.plan.Probes))
	return nil
}

// look reads what was under way before.
func (r *run) look(ctx context.Context) error {
	books, err := cli.OpenBooks(ctx, r.Config.AuditSources(), r.Log)
	if err != nil {
		return fmt.Errorf("reaching counter, ledger and queue: %w", err)
	}
	defer books.Close()
	if r.backlog, err = books.Ledger.Backlog(ctx); err != nil {
		return err
	}
	if _, err := books.Depth(ctx); err != nil {
		return fmt.Errorf("reaching the queue: %w", err)
	}
	if r.Control != nil {
		if r.before, err = r.Control.Cluster(ctx); err != nil {
			return err
		}
		versions := map[string]int{}
		for _, m := range r.before.Members {
			if m.State != "running" || m.Cut {
				return fmt.Errorf("%s is %s: bring the cluster into order first", m.Name, m.State)
			}
			if m.Version != "" {
				versions[m.Kind+" "+m.Version]++
			}
		}
		for _, v := range counts(versions) {
			r.report.Deployment.Versions = append(r.report.Deployment.Versions, v.What)
		}
	}
	r.sampler = newSampler(r.Admins)
	return nil
}

func (r *run) user(number int32) string { return fmt.Sprintf("%s-%07d", r.prefix, number) }

// sign makes a token for each buyer, good until the end of the rehearsal.
func (r *run) sign(count int) ([]string, error) {
	tokens := r.Config.Tokens()
	tokens.Lifetime = r.Spec.Duration + r.Spec.SettleFor + calmDown + time.Hour
	signer, err := cli.NewSigner(tokens)
	if err != nil {
		return nil, err
	}
	return signAll(signer, count, r.user)
}

func signAll(signer *auth.Signer, count int, user func(int32) string) ([]string, error) {
	now, signed := time.Now(), make([]string, count)
	for i := range signed {
		name := user(int32(i))
		token, _, err := signer.SignFor(name, name, nil, now)
		if err != nil {
			return nil, fmt.Errorf("signing a token for %s: %w", name, err)
		}
		signed[i] = token
	}
	return signed, nil
}

// canPay finds out that the edge answers operators, and that there is a sandbox to pay in.
func (r *run) canPay(ctx context.Context) error {
	err := r.api.Call(ctx, http.MethodGet, "/api/admin/payments/sandbox", nil, nil)
	var refusal *cli.Refusal
	if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		return errors.New("the deployment has no sandbox to pay in (`payment.provider: sandbox`): a rehearsal would order from a real payment provider")
	}
	return err
}

// openSales creates and opens both sales and sets the start.
func (r *run) openSales(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	// The probes' sale goes first, and shows how long one takes.
	began := time.Now()
	probes := cli.NewSale{
		ID: r.sales[1], Title: "Rehearsal (probes)", PriceMinor: 100, Stock: int64(len(r.plan.Probes)) + 1000, LimitPerUser: 1,
		OpensAt: began.UnixMilli(), PayWithin: r.Spec.PayWithin.Milliseconds(), HoldFor: r.Spec.HoldFor.Milliseconds(),
	}
	if err := r.api.OpenSale(patience, probes); err != nil {
		return fmt.Errorf("opening the probes' sale: %w", err)
	}
	r.start = time.Now().Add(2*time.Since(began) + leadTime).Truncate(time.Millisecond)
	crowds := probes
	crowds.ID, crowds.Title, crowds.Stock = r.sales[0], "Rehearsal", int64(r.Spec.Stock)
	crowds.OpensAt = r.start.Add(r.plan.Opens).UnixMilli()
	if err := r.api.OpenSale(patience, crowds); err != nil {
		return fmt.Errorf("opening the crowd's sale: %w", err)
	}
	if late := time.Since(r.start); late > r.plan.Opens/2 {
		return fmt.Errorf("the deployment took %s to open a sale: it is not fit to rehearse on", time.Since(began).Round(time.Millisecond))
	}
	r.report.Began = r.start.UTC()
	return nil
}

// closeSales ends both sales, so that nothing of the rehearsal stays on sale.
func (r *run) closeSales(ctx context.Context) {
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	for _, id := range r.sales {
		if err := r.api.ChangeSale(patience, id, "close"); err != nil {
			r.say(fmt.Sprintf("sale %s could not be closed: %v", id, err))
		}
	}
}

// press lets the crowd press and the breaker break, and returns when both are through.
func (r *run) press(ctx context.Context) error {
	during, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	defer beside.Wait()
	sampling, stopSampling := context.WithCancel(ctx)
	defer stopSampling()
	beside.Go(func() { r.sampler.run(sampling) })
	beside.Go(func() { r.progress(sampling) })
	if r.Control != nil {
		b := newBreaker(r.Control, r.plan, r.Members, r.start, r.figures.breaks)
		beside.Go(func() { r.report.Faults = append(r.report.Faults, b.run(during, r.plan.Faults)...) })
	}
	limit := r.Spec.Duration + calmDown
	err := r.crowd.run(ctx, limit, limit+r.Spec.PayWithin)
	stopSampling()
	if err != nil {
		stop()
	}
	return err
}

func (r *run) progress(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.say(r.figures.Line(time.Since(r.start)))
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) say(line string) {
	r.said.Lock()
	defer r.said.Unlock()
	if r.Say != nil {
		r.Say(line)
	}
}

// judge gathers the evidence of both sales and lets Judge speak.
func (r *run) judge(ctx context.Context, own time.Duration) error {
	r.say("gathering the evidence")
	books, err := cli.OpenBooks(ctx, r.Config.AuditSources(), r.Log)
	if err != nil {
		return fmt.Errorf("reaching counter, ledger and queue: %w", err)
	}
	defer books.Close()
	var crowds, probes []Press
	for _, p := range r.crowd.log {
		if r.crowd.buyers[p.Buyer].plan.Kind == Probe {
			probes = append(probes, p)
		} else {
			crowds = append(crowds, p)
		}
	}
	for i, presses := range [][]Press{crowds, probes} {
		e := &Evidence{
			Sale: r.sales[i], Stock: int64(r.Spec.Stock), Opens: r.plan.Opens, Interval: r.interval, Users: r.user, Presses: presses,
			Bot:   func(buyer int32) bool { return r.crowd.buyers[buyer].plan.Kind == Bot },
			Pages: r.crowd.pages, Asked: r.crowd.asked, Closing: r.closing,
		}
		if i == 1 {
			e.Stock, e.Opens, e.Pages, e.Asked, e.Closing = int64(len(r.plan.Probes))+1000, 0, nil, nil, Closing{Ended: true}
			e.Opens = -leadTime
		}
		err := collect(ctx, books, e, r.start)
		if err == nil {
			e.Left, err = leftOf(ctx, books, e.Sale, r.backlog)
		}
		if err != nil {
			return fmt.Errorf("gathering the evidence of sale %s: %w", e.Sale, err)
		}
		report := books.Audit(ctx, e.Sale, 0)
		if e.Audit = wordOf(&report); report.Verdict == audit.Unreachable {
			return fmt.Errorf("the audit reached something not: %s", report.Error)
		}
		r.report.Verdicts = append(r.report.Verdicts, Judge(e))
	}
	r.sum(ctx, crowds, probes, own)
	return nil
}

// sum fills in the report's figures.
func (r *run) sum(ctx context.Context, crowds, probes []Press, own time.Duration) {
	r.report.Figures = figuresOf(r.planned(crowds), r.crowd.follows, r.plan.Opens, r.Spec.Duration)
	decisions := r.report.Figures.Decisions
	inLedger := map[int32]time.Duration{}
	for _, l := range r.crowd.looks {
		if _, known := inLedger[l.Buyer]; !known && l.State != sale.Pending && l.State != sale.Queued {
			inLedger[l.Buyer] = l.At
		}
	}
	heal(r.report.Faults, probes, inLedger, r.Spec.Duration+calmDown)
	r.report.Stages = r.sampler.stages()
	if r.Control != nil {
		after, err := r.Control.Cluster(ctx)
		if err != nil {
			r.report.Notes = append(r.report.Notes, "CPU time is not known: "+err.Error())
		} else {
			r.report.CPU = cpuBetween(r.before, after, decisions)
			for _, m := range after.Members {
				if m.State != "running" {
					r.report.Died = append(r.report.Died, m.Name+" is "+m.State)
				}
			}
		}
	} else if seconds, known := r.sampler.cpu(); known {
		r.report.CPU = append(r.report.CPU, cpuOf("programs behind the admin ports", seconds, decisions))
	}
	if used := ownCPU() - own; used > 0 {
		r.report.CPU = append(r.report.CPU, cpuOf("this generator", used.Seconds(), decisions))
	}
}

// planned leaves out those who came after the crowd.
func (r *run) planned(presses []Press) []Press {
	var list []Press
	for _, p := range presses {
		if p.Buyer < r.closers {
			list = append(list, p)
		}
	}
	return list
}

var errNoBooks = errors.New("counter, ledger or queue did not come back in time")
