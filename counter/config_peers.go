package counter

import (
	"fmt"
	"time"

	peer "headgate.example/counter/client"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// PeerConfig is another shard of the counter.
type PeerConfig struct {
	Name      string   `yaml:"name"`      // as sales name it
	Number    int      `yaml:"number"`    // 0 to 1023, its own among all shards ever
	Addresses []string `yaml:"addresses"` // where its voters answer RESP: host:port
}

// BorrowConfig bounds how an empty shard asks its peers for units.
type BorrowConfig struct {
	// Waiting buyers of one sale; one more is told -BUSY.
	Waiting int `yaml:"waiting"`
	// Wait is how long a buyer waits for units of another shard or the certainty that there are none;
	// then -TRYAGAIN.
	Wait time.Duration `yaml:"wait"`
	// PeerTimeout bounds one question to a peer. One that does not answer by then counts as silent,
	// and is asked again after pauses of up to 2 s.
	PeerTimeout time.Duration `yaml:"peer_timeout"`
}

// Limits of a BorrowConfig.
const (
	maxBorrowWaiting = 100_000
	maxPeerTimeout   = 10 * time.Second
)

// DefaultBorrowConfig lets 4096 buyers of a sale wait a second, and gives a peer half of it.
func DefaultBorrowConfig() BorrowConfig {
	return BorrowConfig{Waiting: 4096, Wait: time.Second, PeerTimeout: 500 * time.Millisecond}
}

func (b *BorrowConfig) validate(p *config.Problems) {
	between(p, "waiting", b.Waiting, 1, maxBorrowWaiting)
	between(p, "peer_timeout", b.PeerTimeout, 10*time.Millisecond, maxPeerTimeout)
	between(p, "wait", b.Wait, b.PeerTimeout, 2*maxPeerTimeout)
}

// validatePeers checks the peers as the clients' shards are checked, and that this shard is none of them.
func (c *Config) validatePeers(p *config.Problems) {
	names, numbers := map[string]bool{c.Shard.Name: true}, map[int]bool{c.Shard.Number: true}
	if len(c.Peers) >= sale.MaxShards {
		p.Addf("peers", "must be at most %d other shards, are %d", sale.MaxShards-1, len(c.Peers))
	}
	for i, each := range c.Peers {
		field := fmt.Sprintf("peers[%d]", i)
		if err := sale.CheckName("name", each.Name); err != nil {
			p.Addf(field+".name", "must be 1 to %d letters, digits, dots, underscores or hyphens", sale.MaxSaleIDBytes)
		} else if names[each.Name] {
			p.Addf(field+".name", "%q is this shard or another peer: list the other shards, each once", each.Name)
		}
		if each.Number < 0 || each.Number > sale.MaxShard {
			p.Addf(field+".number", "must be 0 to %d, is %d", sale.MaxShard, each.Number)
		} else if numbers[each.Number] {
			p.Addf(field+".number", "%d is this shard's or another peer's: order ids would collide", each.Number)
		}
		names[each.Name], numbers[each.Number] = true, true
		if n := len(each.Addresses); n < 1 || n > peer.MaxAddresses {
			p.Addf(field+".addresses", "must list 1 to %d host:port addresses, lists %d", peer.MaxAddresses, n)
		}
	}
}

// peerClient is how this shard speaks to the others: one connection to each, whose questions end after
// PeerTimeout.
func (c *Config) peerClient() peer.Config {
	cfg := peer.Config{
		ClientPassword: c.OperatorPassword, OperatorPassword: c.OperatorPassword, Connections: 1, Timeout: c.Borrow.PeerTimeout,
	}
	for _, each := range c.Peers {
		cfg.Shards = append(cfg.Shards, peer.Shard{Name: each.Name, Number: each.Number, Addresses: each.Addresses})
	}
	return cfg
}
