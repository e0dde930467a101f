package rehearse

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// Latency is how long answers took from when they were meant to be asked for, whenever they were sent: what a
// slow answer delays counts, too. It is exact: every answer is kept and sorted.
type Latency struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p99_9_ns"`
	Max   time.Duration `json:"max_ns"`
}

func latencyOf(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[min(int(share*float64(len(all))), len(all)-1)]
	}
	return Latency{Count: len(all), P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: all[len(all)-1]}
}

// Figures are what a crowd's presses met.
type Figures struct {
	Presses   int `json:"presses"`
	Decisions int `json:"decisions"` // presses that Headgate answered: yes, or a refusal with a code
	// PerSecond is the average from the opening to the last planned press; Busiest is the busiest second. The
	// crowd is drawn: this is how many came, as long as there is no answer missing, and not how many could.
	PerSecond float64 `json:"decisions_per_second"`
	Busiest   int     `json:"decisions_in_the_busiest_second"`
	Yes       Latency `json:"yes"`
	No        Latency `json:"no"`    // refusals that are final: sold_out, already_ordered, not_open, ...
	Later     Latency `json:"later"` // 429 and 503: press again
	None      int     `json:"no_answer"`
	// Answers counts presses by what they got; Follows what is no press.
	Answers []Count `json:"answers"`
	Follows []Count `json:"follow_ups"`
	// GeneratorLate is how late presses left although a connection was free: this program's own doing.
	GeneratorLate Latency `json:"generator_late"`
	// Waited counts presses that found every connection busy. Their wait is in the latencies.
	Waited int `json:"waited_for_a_connection"`
	// Marked: the generator did not keep its own schedule, and the latencies hold its lateness.
	Marked bool `json:"generator_overrun"`
}

// Count is how often something was.
type Count struct {
	What  string `json:"what"`
	Times int    `json:"times"`
}

// overrun is how late the 99th of 100 presses may leave before the latencies are marked.
const overrun = 50 * time.Millisecond

// figuresOf sums up presses of the crowd; probes are not among them.
func figuresOf(presses []Press, follows map[string]int, opens, end time.Duration) Figures {
	f := Figures{Presses: len(presses)}
	var yes, no, later, late []time.Duration
	answers := map[string]int{}
	seconds := map[int]int{}
	after := 0
	for i := range presses {
		p := &presses[i]
		answers[p.what()]++
		if took := p.At - p.Intended; p.answered() {
			switch {
			case p.yes():
				yes = append(yes, took)
			case p.later():
				later = append(later, took)
			default:
				no = append(no, took)
			}
			f.Decisions++
			seconds[int(p.At/time.Second)]++
			if p.At >= opens && p.At < end {
				after++
			}
		} else {
			f.None++
		}
		if p.Waited {
			f.Waited++
		} else {
			late = append(late, p.Sent-p.Intended)
		}
	}
	for _, count := range seconds {
		f.Busiest = max(f.Busiest, count)
	}
	f.PerSecond = float64(after) / (end - opens).Seconds()
	f.Yes, f.No, f.Later, f.GeneratorLate = latencyOf(yes), latencyOf(no), latencyOf(later), latencyOf(late)
	f.Marked = f.GeneratorLate.P99 > overrun
	f.Answers, f.Follows = counts(answers), counts(follows)
	return f
}

// what names an answer.
func (p *Press) what() string {
	switch {
	case p.Status == 0:
		return "no answer (" + p.Failure + ")"
	case p.Broken != "":
		return "broken: " + p.Broken
	case p.foreign():
		return strconv.Itoa(p.Status) + " of somebody in between"
	case p.Code != "":
		return strconv.Itoa(p.Status) + " " + p.Code
	}
	return strconv.Itoa(p.Status)
}

func counts(of map[string]int) []Count {
	list := make([]Count, 0, len(of))
	for what, times := range of {
		list = append(list, Count{what, times})
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(-cmp.Compare(a.Times, b.Times), cmp.Compare(a.What, b.What))
	})
	return list
}
