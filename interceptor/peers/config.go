package peers

import (
	"cmp"
	"fmt"
	"net"
	"strings"
	"time"

	"headgate.example/hashring"
	"headgate.example/lib/config"
)

// Peer is one edge of the config.
type Peer struct {
	Name    string `yaml:"name"`    // 1 to 40 of a-z, 0-9 and -; it is also the value of the affinity cookie
	Address string `yaml:"address"` // host:port of its listener, as other edges reach it
}

// What becomes of a request whose owner went away between two health checks.
const (
	OwnerAwayLocal  = "local"  // it goes to the owner that the ring names without him, or is served where it is
	OwnerAwayRefuse = "refuse" // it is answered `unavailable`
)

// Config bounds what edges do among themselves. DefaultConfig documents the defaults.
type Config struct {
	// OwnerAway is local or refuse. Default local.
	OwnerAway string `yaml:"owner_away"`
	// AffinityCookie is the name of the cookie that names a user's owner, for the balancer in front; "" sets
	// none. With a single edge none is set either. Default headgate_edge.
	AffinityCookie string `yaml:"affinity_cookie"`
	// PingInterval is the time between two health checks of a peer. A peer that misses three, or whose
	// connection breaks and cannot be opened again, is dead; after two good answers it lives. Default 250ms.
	PingInterval time.Duration `yaml:"ping_interval"`
	// ConnectTimeout bounds connecting to a peer. Default 500ms.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Links are the connections to each peer, which all hops share. Default 2.
	Links int `yaml:"links"`
	// HopsPerLink bounds the hops under way on each; further ones are `overloaded`. Default 8192.
	HopsPerLink int `yaml:"hops_per_link"`
	// HandoverWait is how long requests of users whose budgets are being handed over are held. What has not
	// arrived by then is taken for lost. 300,000 budgets took about a second on two busy cores. Default 3s.
	HandoverWait time.Duration `yaml:"handover_wait"`
	// CarefulFor is how long, after an owner died, users whose budgets died with it are answered
	// `unavailable`: one user_interval, so that nobody is let through early and nobody is wrongly told
	// too_soon. Default 0s, which is limits.user_interval, 1s at most.
	CarefulFor time.Duration `yaml:"careful_for"`
}

// DefaultConfig has the default bounds.
func DefaultConfig() Config {
	return Config{
		OwnerAway: OwnerAwayLocal, AffinityCookie: "headgate_edge", PingInterval: 250 * time.Millisecond, ConnectTimeout: 500 * time.Millisecond,
		Links: 2, HopsPerLink: 8192, HandoverWait: 3 * time.Second,
	}
}

// Validate checks each field.
func (c *Config) Validate(p *config.Problems) {
	if c.OwnerAway != OwnerAwayLocal && c.OwnerAway != OwnerAwayRefuse {
		p.Addf("owner_away", "must be %s or %s, is %q", OwnerAwayLocal, OwnerAwayRefuse, c.OwnerAway)
	}
	if len(c.AffinityCookie) > 40 || strings.Trim(strings.ToLower(c.AffinityCookie), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		p.Addf("affinity_cookie", "must be at most 40 letters, digits and _, is %q", c.AffinityCookie)
	}
	for _, d := range []struct {
		field      string
		value      time.Duration
		least, max time.Duration
	}{
		{"ping_interval", c.PingInterval, 10 * time.Millisecond, 10 * time.Second},
		{"connect_timeout", c.ConnectTimeout, time.Millisecond, 10 * time.Second},
		{"handover_wait", c.HandoverWait, 10 * time.Millisecond, 10 * time.Second},
		{"careful_for", c.CarefulFor, 0, 10 * time.Second},
	} {
		if d.value < d.least || d.value > d.max {
			p.Addf(d.field, "must be %s to %s, is %s", d.least, d.max, d.value)
		}
	}
	if c.Links < 1 || c.Links > 64 {
		p.Addf("links", "must be 1 to 64, is %d", c.Links)
	}
	if c.HopsPerLink < 16 || c.HopsPerLink > 1<<20 {
		p.Addf("hops_per_link", "must be 16 to %d, is %d", 1<<20, c.HopsPerLink)
	}
}

// ValidatePeers checks the list of edges and that self is one of them.
func ValidatePeers(p *config.Problems, self string, list []Peer) {
	seen := make(map[string]int, len(list))
	addresses := make(map[string]string, len(list))
	for i, peer := range list {
		at := p.In(fmt.Sprintf("peers[%d]", i))
		if !plainName(peer.Name) {
			at.Addf("name", "must be 1 to 40 of a-z, 0-9 and -, is %q", peer.Name)
		}
		if seen[peer.Name]++; seen[peer.Name] == 2 {
			at.Addf("name", "%q is the name of an earlier peer", peer.Name)
		}
		if _, port, err := net.SplitHostPort(peer.Address); err != nil || port == "" {
			at.Addf("address", "must be host:port as the other edges reach it, is %q", peer.Address)
		}
		if other, taken := addresses[peer.Address]; taken {
			at.Addf("address", "is that of %q as well", other)
		}
		addresses[peer.Address] = peer.Name
	}
	if seen[self] == 0 {
		p.Addf("self", "%q is not the name of one of the peers", self)
	}
	if len(list) > hashring.MaxMembers {
		p.Addf("peers", "must be at most %d, are %d", hashring.MaxMembers, len(list))
	}
}

func plainName(name string) bool {
	return len(name) >= 1 && len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Careful is CarefulFor or, where that is left out, the interval, 1s at most.
func (c *Config) Careful(interval time.Duration) time.Duration {
	return cmp.Or(c.CarefulFor, min(interval, time.Second))
}
