package rehearse

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes a report for people.
func WriteText(w io.Writer, r *Report) error {
	out := &text{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	out.head(r)
	out.verdicts(r)
	out.figures(&r.Figures)
	out.counts("REFUSALS BY STAGE", "(from the edges' own counts)", r.Stages)
	out.counts("WHAT BUYERS WERE TOLD", "", r.Figures.Answers)
	out.counts("AFTER A YES", "", r.Figures.Follows)
	out.faults(r.Faults)
	out.cpu(r)
	for _, note := range r.Notes {
		out.row("note", "%s", note)
	}
	out.row("\nVERDICT", "%s (exit code %d)", r.Outcome, r.Outcome.ExitCode())
	return out.Flush()
}

// text is a table with one value in each row, or more behind tabs.
type text struct{ *tabwriter.Writer }

func (t *text) row(name, format string, args ...any) {
	fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
}

// section ends the table above, so that its columns are its own.
func (t *text) section(title, remark string) {
	_ = t.Flush() // a later Flush tells the same error
	fmt.Fprintf(t, "\n%s %s\n", title, remark)
}

// WritePlan writes what a seed draws, for people.
func WritePlan(w io.Writer, p *Plan) error {
	out := &text{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	out.row("seed", "%d", p.Spec.Seed)
	out.row("plan", "%s", p.Digest())
	out.crowd(p.Shape(), p.Spec.Duration, p.Opens)
	for _, f := range p.Faults {
		out.row("  "+short(f.At), "%s %s for %s", f.Kind, f.Member, short(f.For))
	}
	return out.Flush()
}

func (t *text) crowd(s Shape, duration, opens time.Duration) {
	t.row("crowd", "%d buyers within %s, opening at %s: %d come too early, %d with tokens never seen; %d press twice at once, %d are bots",
		s.Buyers, short(duration), short(opens), s.Early, s.Fresh, s.Doubles, s.Bots)
	t.row("with an order", "%d would pay, %d cancel, %d abandon it", s.Pays, s.Cancels, s.Abandons)
	t.row("beside them", "%d probes, %d faults", s.Probes, s.Faults)
}

func (t *text) head(r *Report) {
	t.row("rehearsal", "seed %d, plan %s, %s", r.Seed, r.Plan, r.Began.Format(time.RFC3339))
	where := r.Deployment.Edge
	if n := len(r.Deployment.Members); n > 0 {
		where += fmt.Sprintf(", a cluster of %d members", n)
	}
	t.row("deployment", "%s", where)
	if len(r.Deployment.Versions) > 0 {
		t.row("versions", "%s", strings.Join(r.Deployment.Versions, ", "))
	}
	m := &r.Machine
	t.row("this machine", "%d cores, %.1f GiB, %s, %s, headgate %s", m.Cores, float64(m.MemoryBytes)/(1<<30), m.Kernel, m.Go, m.Version)
	t.crowd(r.Shape, time.Duration(r.Duration), time.Duration(r.Opens))
	t.row("took", "%s with settling", short(time.Duration(r.Took)))
}

func (t *text) verdicts(r *Report) {
	var names []string
	for i := range r.Verdicts {
		names = append(names, r.Verdicts[i].Sale)
	}
	t.section("WHAT CAME OF IT", "("+strings.Join(names, ", ")+")")
	line := func(name string, value func(*Verdict) any) {
		fmt.Fprintf(t, "  %s", name)
		for i := range r.Verdicts {
			fmt.Fprintf(t, "\t%v", value(&r.Verdicts[i]))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "  SALE\tCROWD'S\tPROBES'")
	line("stock", func(v *Verdict) any { return v.Stock })
	line("sold at the end", func(v *Verdict) any { return v.Sold })
	line("of them paid", func(v *Verdict) any { return v.Paid })
	line("orders promised", func(v *Verdict) any { return v.Yes })
	line("units that came back", func(v *Verdict) any { return v.Came })
	line("buyers who came for them", func(v *Verdict) any { return v.Closing.Came })
	line("  and got one", func(v *Verdict) any { return v.Closing.Bought })
	for _, rule := range Rules() {
		line(rule, func(v *Verdict) any { return v.Violations[rule] })
	}
	line("audit", func(v *Verdict) any { return v.Audit.Verdict })
	line("verdict", func(v *Verdict) any { return v.Outcome })
	_ = t.Flush()
	for i := range r.Verdicts {
		for _, what := range r.Verdicts[i].Unsettled {
			t.row("  ?", "%s", what)
		}
		for _, f := range r.Verdicts[i].Findings {
			t.row("  !", "%s: %s", f.Rule, f.What)
		}
	}
	for _, what := range r.Died {
		t.row("  !", "%s, and nobody let it be", what)
	}
}

func (t *text) figures(f *Figures) {
	remark := "(from the planned moment of each press)"
	if f.Marked {
		remark = "(MARKED: this program did not keep its own schedule, see below)"
	}
	t.section("LATENCY", remark)
	fmt.Fprintln(t, "  ANSWER\tTIMES\tP50\tP99\tP99.9\tMAX")
	for _, row := range []struct {
		name string
		l    *Latency
	}{{"yes", &f.Yes}, {"no", &f.No}, {"later (429, 503)", &f.Later}} {
		fmt.Fprintf(t, "  %s\t%d\t%s\t%s\t%s\t%s\n", row.name, row.l.Count, short(row.l.P50), short(row.l.P99), short(row.l.P999), short(row.l.Max))
	}
	t.section("RATE", "")
	t.row("  presses", "%d, %d without an answer of Headgate's", f.Presses, f.None)
	t.row("  decisions", "%d; %.0f a second on average from the opening to the last planned press, %d in the busiest second", f.Decisions, f.PerSecond, f.Busiest)
	t.row("  the generator", "was late by %s (p99), %s at most; %d presses waited for a connection", short(f.GeneratorLate.P99), short(f.GeneratorLate.Max), f.Waited)
}

func (t *text) counts(title, remark string, list []Count) {
	if len(list) == 0 {
		return
	}
	t.section(title, remark)
	for _, c := range list {
		t.row("  "+c.What, "%d", c.Times)
	}
}

func (t *text) faults(list []Broken) {
	if len(list) == 0 {
		return
	}
	t.section("FAULTS", "(times after a fault's beginning; a probe fails without a yes within "+slowProbe.String()+")")
	fmt.Fprintln(t, "  AT\tFAULT\tFOR\tREADY AFTER\tPROBES FAILED\tYES AGAIN AFTER\tLEDGER AGAIN AFTER")
	for i := range list {
		b := &list[i]
		yes, ledger := "not seen", "not seen"
		if b.YesAgain > 0 {
			yes = short(b.YesAgain)
		}
		if b.LedgerAgain > 0 {
			ledger = short(b.LedgerAgain)
		}
		fmt.Fprintf(t, "  %s\t%s %s\t%s\t%s\t%d of %d\t%s\t%s\n", short(b.Began), b.Kind, b.Member, short(b.Mending-b.Began), short(b.Mended-b.Began),
			b.ProbesFailed, b.Probes, yes, ledger)
	}
}

func (t *text) cpu(r *Report) {
	if len(r.CPU) == 0 {
		return
	}
	t.section("CPU", "(of all processes of a kind)")
	fmt.Fprintln(t, "  PROGRAM\tSECONDS\tFOR 1000 DECISIONS")
	for _, c := range r.CPU {
		fmt.Fprintf(t, "  %s\t%.1f\t%.3f s\n", c.Program, c.Seconds, c.PerThousand)
	}
}

// short writes a duration with three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
