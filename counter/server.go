package counter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

// Server is one shard of the counter. Make one with Open, then call Run once.
type Server struct {
	cfg      Config
	rt       *service.Runtime
	replica  *replica.Replica
	listener net.Listener
	meter    *meter
	started  time.Time
	commands map[string]*command // never changed
	reserve  *command            // of commands
	nextID   atomic.Int64
	backups  backups
	dealers  *dealership
	looking  looking
	loops    *loops
	accepted chan error // accept's end

	// recovering: replica and dealers are not there yet. They are set before this is cleared, and read only after.
	recovering atomic.Bool
	progress   *replica.Progress

	mu       sync.Mutex // guards what follows; a leaf
	conns    map[link]struct{}
	draining bool
	handlers sync.WaitGroup
}

// Option changes a Server for tests.
type Option func(*replica.Config)

// WithClock replaces the wall clock that stamps log entries.
func WithClock(now func() time.Time) Option {
	return func(c *replica.Config) { c.Now = now }
}

// WithMonotonic replaces the clock by which served time is counted.
func WithMonotonic(monotonic func() time.Duration) Option {
	return func(c *replica.Config) { c.Monotonic = monotonic }
}

// WithReplica changes anything about the log, such as making it fail.
func WithReplica(change func(*replica.Config)) Option { return change }

// Open binds the listener and recovers the shard from its data folder. Meanwhile INFO and health tell how
// far it has come, and everything else is answered -TRYAGAIN, as it is until the counter leads its shard,
// which a lone voter does within a moment. After an error nothing stays open.
func Open(_ context.Context, cfg Config, rt *service.Runtime, opts ...Option) (*Server, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, rt: rt, meter: newMeter(rt.Metrics), started: time.Now(), commands: commandTable(cfg.Shard.Number), conns: make(map[link]struct{})}
	s.reserve = s.commands["RESERVE"]
	rc := cfg.replica(rt)
	rc.OnGroup = s.meter.group
	s.progress = replica.NewProgress(rt.Log)
	rc.Progress = s.progress
	for _, o := range opts {
		o(&rc)
	}
	listener, err := service.Listen("listen", cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.listener = listener
	s.recovering.Store(true)
	s.rt.Health.Register("recovery", service.Required, s.recoveryHealth)
	if s.loops, err = startLoops(s, cfg.EventLoops); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.accepted = make(chan error, 1)
	go func() { s.accepted <- s.accept() }()
	if s.replica, err = replica.Open(rc); err != nil {
		return nil, errors.Join(fmt.Errorf("counter shard %s: %w", cfg.Shard.Name, err), s.abandon())
	}
	if s.dealers, err = newDealership(s); err != nil {
		return nil, errors.Join(err, s.abandon(), s.replica.Close(context.Background()))
	}
	s.recovering.Store(false)
	s.meter.watch(s)
	s.registerHealth()
	return s, nil
}

// replica is the replica's part of the config.
func (c *Config) replica(rt *service.Runtime) replica.Config {
	return replica.Config{
		Dir: c.DataDir, Shard: c.Shard.Name, Number: c.Shard.Number, Bootstrap: c.Bootstrap,
		Voters: c.voters(), VoterID: c.VoterID, RaftListen: c.RaftListen, RaftSecret: c.RaftSecret.Reveal(),
		MaxQueued: c.Limits.QueuedCommands, MaxGroup: c.Limits.GroupCommands,
		SnapshotBytes: c.Limits.SnapshotBytes, MinFreeBytes: c.Limits.MinFreeBytes,
		FinalSnapshot: c.FinalSnapshot, Log: rt.Log,
	}
}

// Bootstrap begins the log of a shard with several voters, in this voter's folder: the one-time act.
func Bootstrap(ctx context.Context, cfg Config, rt *service.Runtime) error {
	if err := config.Check(&cfg); err != nil {
		return err
	}
	if err := replica.Bootstrap(ctx, cfg.replica(rt)); err != nil {
		return fmt.Errorf("counter shard %s: %w", cfg.Shard.Name, err)
	}
	return nil
}

// Addr is the bound RESP address.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Ready is nil when the counter leads its shard and answers; else why not.
func (s *Server) Ready() error { return s.replica.Ready() }

func (s *Server) registerHealth() {
	s.rt.Health.Register("raft leader", service.Required, func(context.Context) error { return s.replica.Follows() })
	s.rt.Health.Register("log", service.Required, func(context.Context) error { return s.replica.Err() })
	s.rt.Health.Register("disk", service.Degraded, func(context.Context) error {
		if s.replica.Status().DiskLow {
			return fmt.Errorf("less than %d bytes are free in %s: new reservations are refused", s.cfg.Limits.MinFreeBytes, s.cfg.DataDir)
		}
		return nil
	})
	s.rt.Health.Register("clock", service.Degraded, func(context.Context) error {
		switch st := s.replica.Status(); {
		case !st.ClockTrusted():
			return fmt.Errorf("the wall clock jumped by %s and is not followed: set it right, or restart to accept it", st.WallJump)
		case st.WallBehind > time.Hour:
			return fmt.Errorf("the wall clock is %s behind what the log has seen: sales open and end late", st.WallBehind.Round(time.Second))
		default:
			return st.ClockAlarm()
		}
	})
	s.rt.Health.Register("backup", service.Degraded, s.backupHealth)
	s.rt.Health.Register("voters", service.Degraded, func(context.Context) error {
		var away []string
		for _, m := range s.replica.Status().Members {
			if !m.Reachable {
				away = append(away, m.ID)
			}
		}
		if len(away) > 0 {
			return fmt.Errorf("voters that do not answer: %s", strings.Join(away, ", "))
		}
		return nil
	})
}

// Run serves until ctx is done or the log can no longer be written, and stops in this order: another
// voter is made leader, to whom clients are sent from then on; no new connections; those that are there
// finish the requests they have sent and are closed, at the latest after drain_for. Buyers among them who
// wait for units of other shards are answered at once, since nobody would look after them. Then the replica
// closes, which answers what is still in flight, and after it what depends on it: dealers and backups.
func (s *Server) Run(ctx context.Context) error {
	s.rt.Log.Info("counter serves", "addr", s.Addr(), "shard", s.cfg.Shard.Name)
	var failed error
	select {
	case <-ctx.Done():
	case <-s.replica.Failed():
		failed = fmt.Errorf("counter shard %s: %w", s.cfg.Shard.Name, s.replica.Err())
	case failed = <-s.accepted:
		s.accepted <- nil
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Service.DrainFor)
	defer cancel()
	return errors.Join(failed, s.close(drain))
}

// Close stops a server whose Run was not called.
func (s *Server) Close() error {
	drain, cancel := context.WithTimeout(context.Background(), s.cfg.Service.DrainFor)
	defer cancel()
	return s.close(drain)
}

func (s *Server) close(drain context.Context) error {
	if err := s.replica.HandOver(drain); err != nil {
		s.rt.Log.Warn("stopping without a hand-over: the other voters elect a leader when this one is gone", "error", err)
	}
	closeErr := s.listener.Close()
	<-s.accepted
	s.mu.Lock()
	s.draining = true
	for c := range s.conns {
		c.hurry()
	}
	s.mu.Unlock()
	s.dealers.stop() // buyers who wait for units of other shards are told to try again, while they can be told
	gone := make(chan struct{})
	go func() {
		s.handlers.Wait()
		s.loops.stop()
		close(gone)
	}()
	select {
	case <-gone:
	case <-drain.Done():
		s.rt.Log.Warn("connections did not end in time and are cut", "drain_for", s.cfg.Service.DrainFor)
		s.cutAll()
	}
	// A handler may still wait for the log, and so may a dealer's task: closing the replica answers both.
	replicaErr := s.replica.Close(drain)
	s.dealers.close() // after it no task is left that would wait for the log or bring an event
	<-gone
	s.backups.close() // only a handler opens one
	s.meter.unwatch()
	return errors.Join(closeErr, replicaErr)
}

func (s *Server) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
}

// accept hands connections to their goroutines. It returns nil once the listener is closed.
func (s *Server) accept() error {
	pause := 5 * time.Millisecond
	for {
		nc, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // out of file descriptors, most likely: they come back
			s.rt.Log.Warn("cannot accept a connection", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		s.admit(nc)
	}
}

func (s *Server) admit(nc net.Conn) {
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.Limits.Connections // accept alone adds to them
	if full || s.draining {
		s.mu.Unlock()
		s.meter.rejected.Inc()
		_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Write([]byte("-BUSY the counter has as many clients as limits.connections allows\r\n"))
		_ = nc.Close()
		return
	}
	s.handlers.Add(1)
	s.mu.Unlock()
	s.meter.accepted.Inc()
	if taken, err := s.loops.take(nc); taken {
		if err != nil {
			s.rt.Log.Warn("cannot serve a connection", "error", err)
			s.handlers.Done()
		}
		return
	}
	h := newHandler(s, nc)
	s.joined(h)
	go func() {
		defer s.left(h)
		h.serve()
	}()
}

// joined enters a connection, for which a place was kept, among those that are told of the end.
func (s *Server) joined(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[l] = struct{}{}
	if s.draining {
		l.hurry()
	}
}

func (s *Server) left(l link) {
	s.mu.Lock()
	delete(s.conns, l)
	s.mu.Unlock()
	s.handlers.Done()
}

func (s *Server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
