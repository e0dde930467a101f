package interceptor

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"headgate.example/lib/problem"
)

// errorsPerSecond bounds the failures in the access log: an outage answers each request with one.
const errorsPerSecond = 100

// accessLog writes accepted orders, failures and a sample of the refusals.
type accessLog struct {
	log        *slog.Logger
	refusals   sample
	failures   sample
	suppressed *counter
}

func newAccessLog(log *slog.Logger, refusalsPerSecond int, suppressed *counter) *accessLog {
	l := &accessLog{log: log, suppressed: suppressed}
	l.refusals.perSecond.Store(int64(refusalsPerSecond))
	l.failures.perSecond.Store(errorsPerSecond)
	return l
}

// sample lets the first few of each second through, at the cost of one atomic read for all others.
type sample struct {
	perSecond atomic.Int64
	state     atomic.Int64 // the second since the server was opened, and in the low bits how many passed in it
}

const sampleBits = 20 // perSecond is below 1<<sampleBits

func (s *sample) pass(mono int64) bool {
	second := mono / int64(time.Second) << sampleBits
	for {
		state := s.state.Load()
		next := max(state, second) + 1
		if next&(1<<sampleBits-1) > s.perSecond.Load() {
			return false
		}
		if s.state.CompareAndSwap(state, next) {
			return true
		}
	}
}

// write logs an answered exchange. Everything of the request is copied here.
func (l *accessLog) write(x *exchange, status int, clock func() time.Time) {
	level, text := slog.LevelInfo, "refused"
	switch {
	case x.code == labelAccepted:
		text = "accepted"
	case status >= 500 && x.cause != nil, x.code == string(problem.Internal), x.code == string(problem.UnknownOutcome):
		level, text = slog.LevelWarn, "failed"
		if !l.failures.pass(x.mono) {
			l.suppressed.inc(x.cell)
			return
		}
	case x.problem.Code == "":
		return // passed on: the upstream has a log of its own
	case !l.refusals.pass(x.mono):
		l.suppressed.inc(x.cell)
		return
	}
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.LogAttrs(context.Background(), level, text, attributes(x, status, clock())...)
}

// shownTarget is a target for the log, without what its query says: that may be a secret.
func shownTarget(target []byte) string {
	path, _, asked := bytes.Cut(target, []byte("?"))
	text := shown(string(path))
	if asked {
		text += "?"
	}
	return text
}

func attributes(x *exchange, status int, now time.Time) []slog.Attr {
	route := noRoute
	if x.route != nil {
		route = x.route.Name
	}
	list := []slog.Attr{
		slog.String("request", string(x.id[:])),
		slog.String("route", route),
		slog.String("method", string(x.ctx.Method())),
		slog.String("target", shownTarget(x.ctx.Request.Header.RequestURI())),
		slog.Int("status", status),
		slog.String("code", x.code),
		slog.String("stage", x.endedBy),
		slog.String("address", x.address.String()),
		slog.Duration("took", now.Sub(x.began)),
	}
	if x.given != nil {
		list = append(list, slog.String("given", string(x.given)))
	}
	if x.identity != nil {
		list = append(list, slog.String("user", x.identity.User))
	}
	if x.order != 0 {
		list = append(list, slog.String("order", x.order.String()))
	}
	if x.cause != nil {
		list = append(list, slog.String("cause", x.cause.Error()))
	}
	return list
}
