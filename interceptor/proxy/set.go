package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Set is the upstreams of a process. They outlive a config: what is known of an address that stays is
// kept. It is safe for concurrent use.
type Set struct {
	options Options
	changed chan struct{} // of one

	mu        sync.Mutex
	upstreams map[string]*Upstream
}

// NewSet makes an empty set.
func NewSet(options Options) *Set {
	return &Set{options: options.filled(), changed: make(chan struct{}, 1), upstreams: map[string]*Upstream{}}
}

// Reserve gives the upstream of a config's name, and makes it when there is none. One that is there is
// not changed: that is Apply's work, once the whole config is known to be good.
func (s *Set) Reserve(c Config) *Upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.upstreams[c.Name]
	if u == nil {
		u = New(c, s.options)
		s.upstreams[c.Name] = u
	}
	return u
}

// Apply takes a valid config over. Upstreams that it does not name any more are let go.
func (s *Set) Apply(list []Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[string]bool{}
	for _, c := range list {
		named[c.Name] = true
		if u := s.upstreams[c.Name]; u != nil {
			u.apply(c)
		} else {
			s.upstreams[c.Name] = New(c, s.options)
		}
	}
	for name, u := range s.upstreams {
		if !named[name] {
			u.retire()
			delete(s.upstreams, name)
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// retire ends an upstream that no config names any more. What began by an older config may still come
// and is sent; then its connections idle, and close by themselves.
func (u *Upstream) retire() {
	for _, b := range u.addresses() {
		u.unshow(b)
	}
	u.Close()
}

// Run asks the addresses whether they are well, until ctx ends. It is called once.
func (s *Set) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	watched := map[*backend]context.CancelFunc{}
	for {
		for b, stop := range watched { // whatever a config took away, or gave up to a new one
			if !s.holds(b) {
				stop()
				delete(watched, b)
			}
		}
		for _, u := range s.all() {
			for _, b := range u.addresses() {
				if watched[b] != nil {
					continue
				}
				one, stop := context.WithCancel(ctx) //nolint:gosec // stop is kept in watched; at the latest ctx ends it
				watched[b] = stop
				group.Go(func() { u.watch(one, b) })
			}
		}
		select {
		case <-ctx.Done():
			for _, stop := range watched {
				stop()
			}
			return
		case <-s.changed:
		}
	}
}

func (s *Set) holds(b *backend) bool {
	return slices.ContainsFunc(s.all(), func(u *Upstream) bool { return slices.Contains(u.addresses(), b) })
}

// all gives the upstreams by name.
func (s *Set) all() []*Upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Upstream, 0, len(s.upstreams))
	for _, u := range s.upstreams {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *Upstream) int { return slices.Compare([]byte(a.name), []byte(b.name)) })
	return list
}

func (u *Upstream) addresses() []*backend {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.backends)
}

// Check names the upstreams of which not every address serves all that it could; nil when all do.
func (s *Set) Check(context.Context) error {
	var errs []error
	for _, u := range s.all() {
		if err := u.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.name, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes connections that idle.
func (s *Set) Close() {
	for _, u := range s.all() {
		u.Close()
	}
}
