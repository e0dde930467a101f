package interceptor

import (
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/peers"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// hopCall is one hop that a peer sent here, on its way through the chain. It is pooled.
type hopCall struct {
	ctx    fasthttp.RequestCtx
	hop    peers.Hop
	inline bool   // on the link's goroutine: the chain must not wait
	moved  string // not served: the node that has the user now
	code   string // of the answer: the metric's label where the request arrived
	buf    []byte // of the answer
}

func newHopCall() any {
	c := &hopCall{}
	c.ctx.Init2(nil, nil, false)
	return c
}

// ServeHop implements peers.Handler: the stages from the owner on, for a request that a peer has let pass
// until there. What can be decided at once is, on the link's goroutine, so that a flood of refusals costs no
// switch between goroutines; what has to wait goes on in one of its own.
func (s *Server) ServeHop(hop peers.Hop) {
	c := s.hopCalls.Get().(*hopCall) //nolint:forcetypeassert // nothing else is put
	c.hop, c.inline = hop, true
	x := s.exchanges.Get().(*exchange) //nolint:forcetypeassert // nothing else is put
	x.hop, x.ctx, x.key = c, &c.ctx, hop.Key
	s.begin(x)
	if err := s.readHop(x, hop.Payload); err != nil {
		x.reset()
		s.exchanges.Put(x)
		s.figures.hops.malformed.Inc()
		hop.Busy() // certainly not served
		s.releaseHop(c)
		return
	}
	s.figures.hops.received.inc(x.cell)
	if s.stepHop(x) {
		s.hopWork.Go(func() {
			c.inline = false
			s.stepHop(x)
		})
	}
}

// stepHop runs the chain until it ends, and answers; or, inline, until it would have to wait: true.
func (s *Server) stepHop(x *exchange) (suspended bool) {
	c := x.hop
	defer func() {
		if !suspended {
			s.answerHop(c)
		}
	}()
	defer s.contain(&c.ctx)
	func() {
		defer s.finish(x)
		s.runChain(x)
		suspended = x.suspended
	}()
	return suspended
}

// answerHop sends what the exchange ended with.
func (s *Server) answerHop(c *hopCall) {
	if c.moved != "" {
		c.hop.Moved(c.moved)
	} else {
		c.buf = appendAnswer(c.buf[:0], &c.ctx.Response, c.code)
		c.hop.Answer(c.buf)
	}
	s.releaseHop(c)
}

func (s *Server) releaseHop(c *hopCall) {
	c.ctx.Request.Reset()
	c.ctx.Response.Reset()
	c.ctx.ResetUserValues()
	if cap(c.buf) > 1<<16 {
		c.buf = nil
	}
	c.hop, c.moved, c.code = peers.Hop{}, "", ""
	s.hopCalls.Put(c)
}

// checkOwner makes sure that the user's budgets are kept here, or lets the node that keeps them serve the
// request, by one hop. One that has hopped is served here, unless the user was handed over meanwhile.
func (s *Server) checkOwner(x *exchange) bool {
	if x.identity == nil {
		return false
	}
	var place peers.Place
	if x.hop != nil {
		place, x.section = s.peers.Arrive(x.key, x.hop.hop.Epoch)
		if place.Kind == peers.Pending {
			if x.hop.inline {
				x.suspended = true
				return true
			}
			place, x.section = s.peers.Await(x.key, x.hop.hop.Epoch)
		}
		if place.Kind == peers.Away {
			x.hop.moved = place.Owner.Name()
			x.code = labelMoved
			return true
		}
	} else if place, x.section = s.peers.Enter(x.key); place.Kind != peers.Here {
		if ended := s.hopAway(x, &place); ended {
			return true
		}
	} else {
		s.figures.hops.owned.inc(x.cell)
	}
	x.since = place.Since
	if x.isOrder() && !x.retry && !s.peers.Alone() {
		x.retry = s.seen.Has(x.pressKey) // the mark may have come with the user since readOrderForm looked
	}
	if !place.Careful {
		return false
	}
	if _, known := s.limiters.users.Look(x.key, x.mono); known {
		return false
	}
	s.figures.hops.careful.Inc()
	return x.refuse(s, problem.Unavailable, "The node that served you is gone; another takes over in a moment.")
}

// labelMoved is the code, in the log, of a hop that was not served because the user was handed over.
const labelMoved = "moved"

// hopMargin is what an answer may take on its way, beyond what the owner may take for it.
const hopMargin = time.Second

// hopAway sends the exchange to its owner and passes the answer back. false: it turned out to be served here.
func (s *Server) hopAway(x *exchange, place *peers.Place) (ended bool) {
	x.frame = appendHop(append(x.frame[:0], hopRoom[:]...), x)
	allowed := x.route.timeout
	if x.isOrder() {
		allowed = x.route.purchase
	}
	if q := x.route.limits.queue; q != nil {
		allowed += q.rule.MaxWait
	}
	there, section, reply, err := s.peers.Hop(*place, x.key, x.frame, time.Now().Add(allowed+hopMargin))
	*place, x.section = there, section
	defer reply.Release()
	if cap(x.frame) > 1<<16 {
		x.frame = nil // a large body
	}
	if err == nil && there.Kind == peers.Here {
		s.figures.hops.owned.inc(x.cell)
		return false
	}
	if err == nil {
		x.owner = there.Owner
		if err = readAnswer(x, reply.Payload()); err == nil {
			s.figures.hops.served.inc(x.cell)
			return true
		}
		err = fmt.Errorf("%w: %w", peers.ErrUnknown, err)
	}
	x.cause = fmt.Errorf("hop to %s: %w", there.OwnerName(), err)
	switch {
	case errors.Is(err, peers.ErrBusy):
		s.figures.hops.busy.Inc()
		return x.refuse(s, problem.Overloaded, "The node that serves you has too much to do at the moment.")
	case errors.Is(err, peers.ErrUnknown):
		s.figures.hops.unknown.Inc()
		return s.refuseUnknown(x)
	case errors.Is(err, peers.ErrNotSent) && x.plan.cfg.Sharding.OwnerAway == peers.OwnerAwayLocal:
		s.figures.hops.local.Inc()
		place.Since = x.wall + 1 // nothing is known here of whoever ordered before
		return false
	}
	s.figures.hops.refused.Inc()
	return x.refuse(s, problem.Unavailable, "The node that serves you does not answer at the moment.")
}

var hopRoom [peers.HopHead]byte

// refuseUnknown answers a request whose hop was sent and not answered. Reading again is safe. An order may
// have been taken: pressing again finds it, with the ticket where the buyer has one.
func (s *Server) refuseUnknown(x *exchange) bool {
	if x.isRead() {
		return x.refuse(s, problem.Unavailable, "The node that serves you did not answer.")
	}
	if !x.isOrder() {
		return x.refuse(s, problem.UnknownOutcome, "The node that serves you did not answer in time: it is not known whether this was done.")
	}
	x.refuse(s, problem.UnknownOutcome, "It is not known yet whether the order was taken. Try again.")
	if ticket := x.form.ticket; ticket != nil {
		x.order = ticket.Order
		x.problem.OrderID = ticket.Order.String()
		x.problem.Ticket = string(x.ctx.Request.Header.Peek(auth.HeaderTicket))
	}
	return true
}
