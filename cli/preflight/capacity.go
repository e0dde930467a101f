package preflight

import (
	"encoding/json"
	"fmt"
	"time"

	"headgate.example/cli/rehearse"
)

// headroom is by how much what was measured should be above what is asked for: a crowd is never the rehearsed one.
const headroom = 1.5

// Measured is what a rehearsal told of what this deployment carries.
type Measured struct {
	Rate    float64 // decisions in its busiest second
	Clean   bool    // nothing was lost, sold twice, or said wrongly
	At      time.Time
	Version string
}

// ReadMeasured reads the report of `headgate rehearse --json`.
func ReadMeasured(text []byte) (*Measured, error) {
	var report rehearse.Report
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("it is no report of `headgate rehearse --json`: %w", err)
	}
	if report.Began.IsZero() || report.Figures.Decisions == 0 {
		return nil, fmt.Errorf("it is no report of `headgate rehearse --json`, or of one without a decision")
	}
	return &Measured{Rate: float64(report.Figures.Busiest), Clean: report.Outcome == rehearse.Clean, At: report.Began, Version: report.Machine.Version}, nil
}

// lookAtCapacity holds what is asked for against what was measured. What was not measured is not known.
func (p *preflight) lookAtCapacity() Line {
	const check = "capacity"
	const rehearsal = "headgate rehearse --json > report.json on this deployment, then --report report.json"
	m := p.Measured
	switch {
	case m == nil && p.Rate == 0:
		return warn(check, rehearsal+" and --rate with the decisions a second that are expected", "not asked, and not measured")
	case m == nil:
		return warn(check, rehearsal, "%.0f decisions a second are asked for; what it carries is not measured", p.Rate)
	case !m.Clean:
		return fail(check, "find out why, and rehearse again", "the rehearsal of %s was not clean", m.At.UTC().Format(time.RFC3339))
	case p.Rate == 0:
		return warn(check, "say with --rate how many are expected", "%.0f decisions in the busiest second of the rehearsal of %s; how many are expected is not said", m.Rate, m.At.UTC().Format(time.RFC3339))
	case m.Rate < p.Rate:
		return fail(check, "add edges or counter shards, or rehearse with a larger crowd: it cannot measure more than it asks for",
			"%.0f decisions a second are asked for, %.0f were measured", p.Rate, m.Rate)
	case m.Rate < headroom*p.Rate:
		return warn(check, "a crowd is never the rehearsed one: have half as much again", "%.0f decisions a second are asked for, %.0f were measured", p.Rate, m.Rate)
	}
	for i := range p.programs {
		if v := p.programs[i].Version; v != m.Version {
			return warn(check, "rehearse what will run", "%.0f decisions a second were measured with version %s, but %s runs", m.Rate, m.Version, v)
		}
	}
	return ok(check, "%.0f decisions a second are asked for, %.0f were measured in the busiest second of the rehearsal of %s", p.Rate, m.Rate, m.At.UTC().Format(time.RFC3339))
}
