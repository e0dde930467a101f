package interceptor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/peers"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/service"
)

// leaveWithin bounds leaving the ring when stopping: what is not handed over by then begins anew elsewhere.
const leaveWithin = 5 * time.Second

// edgePrefix is of the figures that tell how edges share their users.
const edgePrefix = "headgate_edge_"

// hopFigures count hops. The share of hops is hops_total over hops_total and owned_requests_total.
type hopFigures struct {
	owned, received, served       *counter // served: of the hops that were sent
	malformed, careful, noRoom    *metrics.Counter
	busy, unknown, local, refused *metrics.Counter // how other hops that were sent ended
}

func newHopFigures(f *figures) hopFigures {
	set := f.set
	outcome := func(word string) *metrics.Counter {
		return set.NewCounter(edgePrefix + `hops_total{outcome="` + word + `"}`)
	}
	return hopFigures{
		owned:     f.counter(edgePrefix + "owned_requests_total"),
		received:  f.counter(edgePrefix + "hops_received_total"),
		malformed: set.NewCounter(edgePrefix + "hops_malformed_total"),
		careful:   set.NewCounter(edgePrefix + "careful_refusals_total"),
		noRoom:    set.NewCounter(edgePrefix + "handover_no_room_total"),
		served:    f.counter(edgePrefix + `hops_total{outcome="served"}`),
		busy:      outcome("busy"),
		unknown:   outcome("unknown"),
		local:     outcome("owner_away_local"),
		refused:   outcome("owner_away_refused"),
	}
}

// preparePeers makes the node's view of the other edges.
func (s *Server) preparePeers(cfg *Config) {
	seen := seenStore{s}
	s.peers = peers.New(peers.Options{
		Self: cfg.Self, Peers: cfg.Peers, Config: cfg.Sharding, Careful: cfg.Sharding.Careful(cfg.Limits.UserInterval.Every),
		Keys:       func() *auth.Keyring { return s.plan.Load().hops },
		UserKeys:   s.hasher.Fingerprint(),
		Clock:      time.Now, // what is timed is the network
		Wall:       s.latestWall,
		ConfigHash: func() string { return s.plan.Load().hash },
		Stores:     []peers.Store{budgetStore{s}, seen, strikeStore{s}},
		Forgotten:  seen.forgotten,
		Log:        s.rt.Log,
	})
	s.peers.SetHandler(s)
}

// latestWall is the counter's clock, ms; while it is not known, the latest that it may be. From then on orders
// are remembered: rather too late, which costs the counter a question, than too early, which is a lie.
func (s *Server) latestWall() int64 {
	latest := s.sales.Wall(s.now().UnixMilli())
	if !s.sales.Timed() {
		latest += auth.HopSkew.Milliseconds() // clocks that differ by more open no links either
	}
	return latest
}

// awaitPeers waits until the node has heard from its peers; requests that come before that are held.
func (s *Server) awaitPeers(ctx context.Context) {
	select {
	case <-s.peers.Settled():
	case <-ctx.Done():
	}
}

// leaveRing takes the node out of the ring and hands its users over.
func (s *Server) leaveRing() {
	if s.peers.Alone() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	if err := s.peers.Drain(ctx); err != nil {
		s.rt.Log.Warn("left the ring before all was handed over", "error", err)
	}
}

var (
	linkPath    = []byte(peers.LinkPath)
	upgradeName = []byte(peers.Protocol)
)

// opensLink answers a peer that opens a link, and takes its connection over. To anybody else the path is an
// unknown one.
func (s *Server) opensLink(ctx *fasthttp.RequestCtx) bool {
	header := &ctx.Request.Header
	target := header.RequestURI()
	path, query, found := bytes.Cut(target, []byte("?"))
	if !found || !bytes.Equal(path, linkPath) || !header.IsGet() || !bytes.Equal(header.Peek("Upgrade"), upgradeName) {
		return false
	}
	consent, err := s.peers.Accept(string(query), string(header.Peek(auth.HeaderFrom)), string(header.Peek(auth.HeaderHop)))
	if err != nil {
		s.peers.BadLinks.Add(1)
		return false
	}
	ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
	ctx.Response.Header.Set("Connection", "Upgrade")
	ctx.Response.Header.Set("Upgrade", peers.Protocol)
	ctx.Response.Header.Set(auth.HeaderHop, consent.Signature)
	ctx.Hijack(func(conn net.Conn) { s.peers.Serve(conn, consent) })
	return true
}

// lookAtRing answers /edge/ring.
func (s *Server) lookAtRing(*http.Request) (any, *problem.Problem) { return s.peers.Report(), nil }

// drainNow answers POST /edge/drain: the node leaves the ring, hands its users over and turns unready, and
// goes on serving whatever still comes, until it is stopped.
func (s *Server) drainNow(*http.Request) (any, *problem.Problem) {
	s.rt.Health.SetDraining()
	s.draining.Store(true)
	s.leaveRing()
	return s.peers.Report(), nil
}

func (s *Server) registerRing() {
	if s.peers.Alone() {
		return
	}
	s.rt.Health.Register("ring", service.Required, func(context.Context) error {
		select {
		case <-s.peers.Settled():
			return nil
		default:
			return errors.New("has not heard from its peers yet")
		}
	})
	s.rt.Health.Register("peers", service.Degraded, func(context.Context) error {
		report := s.peers.Report()
		for i := range report.Members {
			switch m := &report.Members[i]; {
			case m.State == peers.StateDead:
				return fmt.Errorf("%s is away: %s", m.Name, m.Cause)
			case len(m.Differs) > 0:
				return errors.New(m.Difference())
			}
		}
		return nil
	})
	gauge := func(name string, value func() float64) { s.figures.set.NewGauge(edgePrefix+name, value) }
	gauge("ring_members", func() float64 { live, _ := s.peers.Live(); return float64(live) })
	gauge("configured_members", func() float64 { _, configured := s.peers.Live(); return float64(configured) })
	gauge("differing_configs", func() (n float64) {
		report := s.peers.Report()
		for i := range report.Members {
			if m := &report.Members[i]; m.State != peers.StateDead && m.ConfigHash != "" && m.ConfigHash != report.ConfigHash() {
				n++
			}
		}
		return n
	})
	f := &s.peers.Figures
	for name, value := range map[string]func() int64{
		"ring_changes_total": f.RingChanges.Load, "peer_deaths_total": f.Deaths.Load, "lost_partitions_total": f.LostParts.Load,
		"handover_sent_total": f.EntriesSent.Load, "handover_taken_total": f.EntriesTaken.Load, "handover_failed_total": f.FailedGifts.Load,
		"foreign_hops_total": f.ForeignServed.Load, "bad_links_total": f.BadLinks.Load,
	} {
		gauge(name, func() float64 { return float64(value()) })
	}
}
