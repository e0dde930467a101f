package rehearse

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Progress counts what happens, to be read while it does. Its methods may be called from any goroutine.
type Progress struct {
	presses, yes, no, later, none atomic.Int64
	probesYes, probesNo           atomic.Int64
	waiting, busy                 atomic.Int64
	fault                         atomic.Pointer[string]
}

func (p *Progress) sent(do action) {
	if do == press {
		p.presses.Add(1)
	}
}

func (p *Progress) late(waiting, busy int) {
	p.waiting.Store(int64(waiting))
	p.busy.Store(int64(busy))
}

func (p *Progress) answered(press *Press, kind Kind) {
	switch {
	case kind == Probe && press.yes():
		p.probesYes.Add(1)
	case kind == Probe:
		p.probesNo.Add(1)
	case press.yes():
		p.yes.Add(1)
	case !press.answered():
		p.none.Add(1)
	case press.later():
		p.later.Add(1)
	default:
		p.no.Add(1)
	}
}

func (p *Progress) breaks(what string) { p.fault.Store(&what) }

// Line is where things stand, in one line.
func (p *Progress) Line(at time.Duration) string {
	line := fmt.Sprintf("%6.0fs  sent %d  yes %d  no %d  later %d  no answer %d  under way %d  waiting %d  probes %d of %d",
		at.Seconds(), p.presses.Load(), p.yes.Load(), p.no.Load(), p.later.Load(), p.none.Load(), p.busy.Load(), p.waiting.Load(),
		p.probesYes.Load(), p.probesYes.Load()+p.probesNo.Load())
	if fault := p.fault.Load(); fault != nil && *fault != "" {
		line += "  " + *fault
	}
	return line
}

// later reports a refusal that says to press again.
func (p *Press) later() bool { return p.answered() && (p.Status == 429 || p.Status == 503) }
