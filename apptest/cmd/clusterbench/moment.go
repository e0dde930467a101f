//go:build linux

package main

import (
	"context"
	"strings"
	"time"

	"headgate.example/apptest/cluster"
	"headgate.example/apptest/measure"
)

// moment is what a cluster tells of itself. Each edge and the supervisor have a time of their own, since one that
// has used its share up answers late.
type moment struct {
	at    time.Time // of cpu
	cpu   []cluster.Status
	edges []edgeMoment
}

type edgeMoment struct {
	at                        time.Time
	answers, expected, hopped float64 // since its start
}

func (s *site) look(ctx context.Context, c crowd) (*moment, error) {
	m := &moment{}
	for _, member := range s.state.Members {
		if member.Kind != cluster.Interceptor {
			continue
		}
		page, err := measure.ReadMetrics(ctx, strings.TrimPrefix(member.Admin, "http://"))
		if err != nil {
			return nil, err
		}
		e := edgeMoment{at: time.Now()}
		for _, figure := range []struct {
			into        *float64
			name, label string
		}{
			{&e.answers, "headgate_interceptor_requests_total", `route="reserve"`},
			{&e.expected, "headgate_interceptor_requests_total", `route="reserve",code="` + c.code + `"`},
			{&e.hopped, "headgate_edge_hops_total", `outcome="served"`},
		} {
			if *figure.into, err = page.Sum(figure.name, figure.label); err != nil {
				return nil, err
			}
		}
		m.edges = append(m.edges, e)
	}
	state, err := s.client.State(ctx)
	m.at, m.cpu = time.Now(), state.Members
	return m, err
}

func (m *moment) sum(of func(*edgeMoment) float64) (sum float64) {
	for i := range m.edges {
		sum += of(&m.edges[i])
	}
	return sum
}

func (m *moment) answers() float64  { return m.sum(func(e *edgeMoment) float64 { return e.answers }) }
func (m *moment) expected() float64 { return m.sum(func(e *edgeMoment) float64 { return e.expected }) }
func (m *moment) hopped() float64   { return m.sum(func(e *edgeMoment) float64 { return e.hopped }) }

// between gives the figures of the time between two moments.
func (s *site) between(begin, end *moment) *measured {
	m := &measured{cpu: make(map[string]float64), hops: (end.hopped() - begin.hopped()) / (end.answers() - begin.answers())}
	for i, e := range end.edges {
		m.rate += (e.answers - begin.edges[i].answers) / e.at.Sub(begin.edges[i].at).Seconds()
	}
	seconds := end.at.Sub(begin.at).Seconds()
	for i, now := range end.cpu {
		used := (now.CPU - begin.cpu[i].CPU) / seconds
		m.cpu[now.Kind] += used / m.rate
		if now.Kind == s.contest.kind {
			m.busiest = max(m.busiest, used)
		}
	}
	return m
}
