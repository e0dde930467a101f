package counter

import (
	"net"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
)

// Config is the whole configuration of the counter.
type Config struct {
	Service service.Config `yaml:"service"`
	// Listen is where clients speak RESP. Beyond loopback both passwords must be set.
	Listen string `yaml:"listen"`
	// RaftListen is where the other voters of this shard reach it. Nothing is encrypted, so it belongs
	// into a private network. Without Voters nothing listens there.
	RaftListen string `yaml:"raft_listen"`
	// RaftSecret is shown by the voters of a shard to each other, at least 16 bytes. Beyond loopback it
	// must be set.
	RaftSecret config.Secret `yaml:"raft_secret"`
	// Voters are the shard's voters, this one included. Their log is begun by `counter --bootstrap` on
	// one of them, once, while the others run; from then on the log decides who votes (see VOTERS), and the list only
	// tells this voter its own addresses. Empty: this one alone.
	Voters []VoterConfig `yaml:"voters"`
	// VoterID says which of the voters this one is. A voter that lost its folder gets a new id.
	VoterID string `yaml:"voter_id"`
	// DataDir holds log and snapshots. One process at a time.
	DataDir string      `yaml:"data_dir"`
	Shard   ShardConfig `yaml:"shard"`
	// Bootstrap makes a new log when DataDir is empty; without it an empty DataDir stops the start.
	// For one voter only.
	Bootstrap bool `yaml:"bootstrap"`
	// ClientPassword allows buying and looking up, OperatorPassword everything. Both or neither are
	// set.
	ClientPassword   config.Secret `yaml:"client_password"`
	OperatorPassword config.Secret `yaml:"operator_password"`
	// Peers are the other shards of the counter, between which the units of a sale move; without
	// them this shard can only take part in sales of its own. They are spoken to with
	// OperatorPassword, which is the same for all shards.
	Peers []PeerConfig `yaml:"peers"`
	// Borrow bounds how this shard asks its peers for units.
	Borrow BorrowConfig `yaml:"borrow"`
	// FinalSnapshot takes a snapshot when stopping, for a faster start.
	FinalSnapshot bool `yaml:"final_snapshot"`
	// EventLoops drive the connections, each by one goroutine: one is enough for a million requests a second.
	// 0 gives each connection a goroutine of its own, as is done on systems without epoll in any case.
	EventLoops int          `yaml:"event_loops"`
	Limits     LimitsConfig `yaml:"limits"`
}

// VoterConfig is one voter of the shard.
type VoterConfig struct {
	ID     string `yaml:"id"`
	Raft   string `yaml:"raft"`   // host:port for the other voters
	Client string `yaml:"client"` // host:port where it answers RESP, as clients reach it
}

// minSecretBytes of raft_secret.
const minSecretBytes = 16

// ShardConfig names the shard. DataDir remembers it, and refuses another.
type ShardConfig struct {
	Name   string `yaml:"name"`   // as sales name it
	Number int    `yaml:"number"` // 0 to 1023, part of every order id; unique among all shards ever
}

// LimitsConfig bounds what clients can ask of the counter.
type LimitsConfig struct {
	// Connections at once; one more is told so and closed.
	Connections int `yaml:"connections"`
	// IdleTimeout closes a connection that sends nothing.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// WriteTimeout closes a connection that does not take its replies.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// ReadWait bounds a read's wait for the leader's verification; then -TRYAGAIN.
	ReadWait time.Duration `yaml:"read_wait"`
	// QueuedCommands may wait for the log; beyond it -BUSY.
	QueuedCommands int `yaml:"queued_commands"`
	// GroupCommands share one log entry at most.
	GroupCommands int `yaml:"group_commands"`
	// SnapshotBytes of log are gathered between snapshots, or the last one's size if that is larger.
	SnapshotBytes int64 `yaml:"snapshot_bytes"`
	// MinFreeBytes of the disk; below it no new reservations or sales, below a quarter of it nothing. Two
	// log files (32 MiB) and one are kept free in any case.
	MinFreeBytes int64 `yaml:"min_free_bytes"`
}

// Limits of a LimitsConfig.
const (
	maxEventLoops    = 64
	maxConnections   = 100_000
	minGroupCommands = 1024 // a CONFIRM with its most ids must fit
	maxGroupCommands = 8192
	maxQueued        = 1 << 20
)

// DefaultConfig is one shard for this machine.
func DefaultConfig() Config {
	c := Config{
		Service:    service.DefaultConfig(),
		Listen:     "127.0.0.1:7380",
		RaftListen: "127.0.0.1:7381",
		DataDir:    "data/counter",
		Shard:      ShardConfig{Name: "s1", Number: 0},
		Borrow:     DefaultBorrowConfig(),
		EventLoops: 1,
		Limits: LimitsConfig{
			Connections:    4096,
			IdleTimeout:    10 * time.Minute,
			WriteTimeout:   5 * time.Second,
			ReadWait:       2 * time.Second,
			QueuedCommands: 65_536,
			GroupCommands:  2048,
			SnapshotBytes:  64 << 20,
			MinFreeBytes:   64 << 20,
		},
	}
	c.Service.Admin = "127.0.0.1:8182"
	return c
}

// Validate reports every field that is wrong.
func (c *Config) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	if err := service.CheckAddress(c.Listen); err != nil {
		p.Addf("listen", "%v", err)
	}
	if c.RaftListen != "" {
		if err := service.CheckAddress(c.RaftListen); err != nil {
			p.Addf("raft_listen", "%v", err)
		}
	}
	if c.DataDir == "" {
		p.Addf("data_dir", "must name a folder")
	}
	if err := sale.CheckName("name", c.Shard.Name); err != nil {
		p.Addf("shard.name", "must be 1 to %d letters, digits, dots, underscores or hyphens, and not start with a dot", sale.MaxSaleIDBytes)
	}
	if c.Shard.Number < 0 || c.Shard.Number > sale.MaxShard {
		p.Addf("shard.number", "must be 0 to %d, is %d", sale.MaxShard, c.Shard.Number)
	}
	c.validatePasswords(p)
	c.validateVoters(p)
	c.validatePeers(p)
	c.Borrow.validate(p.In("borrow"))
	between(p, "event_loops", c.EventLoops, 0, maxEventLoops)
	c.Limits.validate(p.In("limits"))
}

func (c *Config) validatePasswords(p *config.Problems) {
	client, operator := c.ClientPassword.Reveal(), c.OperatorPassword.Reveal()
	switch {
	case client == "" && operator == "":
		if !isLoopback(c.Listen) {
			p.Addf("client_password", "must be set, and operator_password, since listen (%s) is not a loopback address", c.Listen)
		}
	case client == "":
		p.Addf("client_password", "must be set when operator_password is")
	case operator == "":
		p.Addf("operator_password", "must be set when client_password is")
	case client == operator:
		p.Addf("operator_password", "must differ from client_password")
	}
}

func (c *Config) validateVoters(p *config.Problems) {
	voters := c.voters()
	replica.CheckVoters(p, voters, c.VoterID)
	secret := c.RaftSecret.Reveal()
	if secret != "" && len(secret) < minSecretBytes {
		p.Addf("raft_secret", "must be at least %d bytes", minSecretBytes)
	}
	if len(voters) == 0 {
		return
	}
	switch {
	case c.RaftListen == "":
		p.Addf("raft_listen", "must be set, since there are voters")
	case secret == "" && !isLoopback(c.RaftListen):
		p.Addf("raft_secret", "must be set, since raft_listen (%s) is not a loopback address", c.RaftListen)
	}
	if c.Bootstrap && len(voters) > 1 {
		p.Addf("bootstrap", "must be false with several voters: start all but one, and run `counter --bootstrap` on that one, once")
	}
}

func (c *Config) voters() []replica.Voter {
	voters := make([]replica.Voter, len(c.Voters))
	for i, v := range c.Voters {
		voters[i] = replica.Voter(v)
	}
	return voters
}

// isLoopback is false for names other than localhost: what they mean may change.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (l *LimitsConfig) validate(p *config.Problems) {
	between(p, "connections", l.Connections, 1, maxConnections)
	between(p, "idle_timeout", l.IdleTimeout, time.Second, 24*time.Hour)
	between(p, "write_timeout", l.WriteTimeout, 10*time.Millisecond, time.Minute)
	between(p, "read_wait", l.ReadWait, 10*time.Millisecond, time.Minute)
	between(p, "group_commands", l.GroupCommands, minGroupCommands, maxGroupCommands)
	between(p, "queued_commands", l.QueuedCommands, l.GroupCommands, maxQueued)
	between(p, "snapshot_bytes", l.SnapshotBytes, 1<<20, 16<<30)
	between(p, "min_free_bytes", l.MinFreeBytes, 1<<20, 1<<40)
}

func between[T int | int64 | time.Duration](p *config.Problems, field string, value, low, high T) {
	if value < low || value > high {
		p.Addf(field, "must be %v to %v, is %v", low, high, value)
	}
}
