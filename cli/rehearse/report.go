package rehearse

import (
	"runtime"
	"slices"
	"time"

	"headgate.example/lib/service"
)

// Report is a whole rehearsal, for programs. Durations are nanoseconds, moments are since the start.
type Report struct {
	Outcome  Outcome   `json:"outcome"`
	Seed     uint64    `json:"seed"`
	Plan     string    `json:"plan"` // its digest: equal plans, equal digests
	Shape    Shape     `json:"shape"`
	Began    time.Time `json:"began"`
	Opens    int64     `json:"opens_ns"`
	Duration int64     `json:"duration_ns"`
	Took     int64     `json:"took_ns"` // with settling

	Deployment Deployment `json:"deployment"`
	Machine    Machine    `json:"machine"` // on which this program ran
	Figures    Figures    `json:"figures"`
	Stages     []Count    `json:"refusals_by_stage"` // empty where no admin port of an edge is known
	CPU        []CPU      `json:"cpu"`               // empty where nobody tells
	Faults     []Broken   `json:"faults"`
	// Died are parts that were found dead, though nobody let them be.
	Died []string `json:"died"`
	// Verdicts are those of the crowd's sale and of the probes'.
	Verdicts []Verdict `json:"verdicts"`
	Notes    []string  `json:"notes"`
}

// Deployment is what was pressed on.
type Deployment struct {
	Edge     string   `json:"edge"`
	Members  []Member `json:"members,omitempty"`
	Versions []string `json:"versions,omitempty"`
}

// Machine is a machine.
type Machine struct {
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes,omitempty"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Version     string `json:"version"`
}

// CPU is what programs of one kind took, all of them together.
type CPU struct {
	Program string  `json:"program"`
	Seconds float64 `json:"seconds"`
	// PerThousand is CPU seconds for a thousand decisions.
	PerThousand float64 `json:"seconds_per_thousand_decisions"`
}

func thisMachine() Machine {
	return Machine{Cores: runtime.NumCPU(), MemoryBytes: memoryBytes(), Kernel: kernel(), Go: runtime.Version(), Version: service.Version()}
}

// conclude gives the report its outcome: the worst of what was seen.
func (r *Report) conclude() {
	r.Outcome = Clean
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Error != "" {
			r.Notes = append(r.Notes, "the fault "+string(f.Kind)+" "+f.Member+" was not carried out as planned: "+f.Error)
			r.Outcome = NotSettled
		}
	}
	for i := range r.Verdicts {
		switch r.Verdicts[i].Outcome {
		case Violated:
			r.Outcome = Violated
		case NotSettled:
			if r.Outcome == Clean {
				r.Outcome = NotSettled
			}
		}
	}
	if len(r.Died) > 0 {
		r.Outcome = Violated
	}
}

// cpuBetween compares two looks at a cluster.
func cpuBetween(before, after Cluster, decisions int) []CPU {
	seconds := map[string]float64{}
	for _, m := range after.Members {
		seconds[m.Kind] += m.CPUSeconds
	}
	for _, m := range before.Members {
		seconds[m.Kind] -= m.CPUSeconds
	}
	var list []CPU
	for kind, used := range seconds {
		list = append(list, cpuOf(kind, used, decisions))
	}
	slices.SortFunc(list, func(a, b CPU) int {
		if a.Seconds != b.Seconds {
			return map[bool]int{true: -1, false: 1}[a.Seconds > b.Seconds]
		}
		return map[bool]int{true: -1, false: 1}[a.Program < b.Program]
	})
	return list
}

func cpuOf(program string, seconds float64, decisions int) CPU {
	c := CPU{Program: program, Seconds: seconds}
	if decisions > 0 {
		c.PerThousand = seconds * 1000 / float64(decisions)
	}
	return c
}
