package client

import (
	"fmt"
	"net"
	"time"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// Limits of a Config.
const (
	MaxShards      = sale.MaxShards
	MaxAddresses   = 9                // of one shard
	MaxConnections = 64               // per address
	MaxTimeout     = 60 * time.Second // per call
)

// Config says where the counter's shards are and how to speak to them.
type Config struct {
	// Shards lists every shard of the counter, in ring order. The first one is the control shard,
	// which keeps bans and revocations. Default: one shard "s1", number 0, at 127.0.0.1:7380.
	Shards []Shard `yaml:"shards"`
	// ClientPassword is sent by commands that buy and look up. Empty: none is sent.
	ClientPassword config.Secret `yaml:"client_password"`
	// OperatorPassword opens, pauses and bans. Empty: the client password is used.
	OperatorPassword config.Secret `yaml:"operator_password"`
	// Connections per counter address that all callers share by pipelining. Default 2.
	Connections int `yaml:"connections"`
	// Timeout bounds one call with all its repetitions, and connecting. A context may end it
	// earlier. Default 2 s.
	Timeout time.Duration `yaml:"timeout"`
}

// Shard is one shard of the counter: its voters' RESP addresses.
type Shard struct {
	Name      string   `yaml:"name"`
	Number    int      `yaml:"number"` // 0 to 1023, part of every order id minted there
	Addresses []string `yaml:"addresses"`
}

// DefaultConfig is one shard on this machine.
func DefaultConfig() Config {
	return Config{
		Shards:      []Shard{{Name: "s1", Number: 0, Addresses: []string{"127.0.0.1:7380"}}},
		Connections: 2,
		Timeout:     2 * time.Second,
	}
}

// Validate reports every field that is wrong.
func (c *Config) Validate(p *config.Problems) {
	if len(c.Shards) < 1 || len(c.Shards) > MaxShards {
		p.Addf("shards", "must name 1 to %d shards, names %d", MaxShards, len(c.Shards))
	}
	names, numbers := map[string]bool{}, map[int]bool{}
	for i, s := range c.Shards {
		field := fmt.Sprintf("shards[%d]", i)
		if err := sale.CheckName("name", s.Name); err != nil {
			p.Addf(field+".name", "must be 1 to %d letters, digits, dots, underscores or hyphens", sale.MaxSaleIDBytes)
		} else if names[s.Name] {
			p.Addf(field+".name", "%q is used twice", s.Name)
		}
		if s.Number < 0 || s.Number > sale.MaxShard {
			p.Addf(field+".number", "must be 0 to %d, is %d", sale.MaxShard, s.Number)
		} else if numbers[s.Number] {
			p.Addf(field+".number", "%d is used twice: order ids would collide", s.Number)
		}
		names[s.Name], numbers[s.Number] = true, true
		if len(s.Addresses) < 1 || len(s.Addresses) > MaxAddresses {
			p.Addf(field+".addresses", "must list 1 to %d host:port addresses, lists %d", MaxAddresses, len(s.Addresses))
		}
		for j, a := range s.Addresses {
			if _, _, err := net.SplitHostPort(a); err != nil {
				p.Addf(fmt.Sprintf("%s.addresses[%d]", field, j), "must be host:port, is %q", a)
			}
		}
	}
	if c.Connections < 1 || c.Connections > MaxConnections {
		p.Addf("connections", "must be 1 to %d, is %d", MaxConnections, c.Connections)
	}
	if c.Timeout < 10*time.Millisecond || c.Timeout > MaxTimeout {
		p.Addf("timeout", "must be 10ms to %s, is %s", MaxTimeout, c.Timeout)
	}
}
