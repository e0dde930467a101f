package cli

import (
	"fmt"
	"net"

	"headgate.example/backend"
	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/interceptor"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

// ConfigName is the config's name in a data folder.
const ConfigName = "headgate.yaml"

// Config is everything of one process that runs all layers, and of the operator's commands.
type Config struct {
	// Service is the process's own section: the admin port and the logs of all layers. The layers'
	// own `service.admin` and logs are not used in one process.
	Service service.Config `yaml:"service"`
	// API is where the operator's commands find the edge: http://host:port. Default: where the
	// interceptor listens.
	API string `yaml:"api"`
	// Admins are where `headgate preflight` finds the admin ports of all programs: host:port. Default: that of
	// the one process.
	Admins []string `yaml:"admins"`

	Interceptor interceptor.Config `yaml:"interceptor"`
	Counter     counter.Config     `yaml:"counter"`
	Backend     backend.Config     `yaml:"backend"`
	Consumer    consumer.Config    `yaml:"consumer"`
}

// DefaultConfig is the layers' defaults with one admin port. Keys and paths are missing.
func DefaultConfig() Config {
	c := Config{
		Service:     service.DefaultConfig(),
		Interceptor: interceptor.DefaultConfig(),
		Counter:     counter.DefaultConfig(),
		Backend:     backend.DefaultConfig(),
		Consumer:    consumer.DefaultConfig(),
	}
	c.Service.Admin = "127.0.0.1:8180"
	c.Service.Mode = service.Development // the one process; the layers' own modes are not used in it
	return c
}

// Validate checks every layer.
func (c *Config) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	for i, admin := range c.Admins {
		if _, _, err := net.SplitHostPort(admin); err != nil {
			p.Addf(fmt.Sprintf("admins[%d]", i), "must be host:port such as edge-1:8181, is %q", admin)
		}
	}
	c.Interceptor.Validate(p.In("interceptor"))
	c.Counter.Validate(p.In("counter"))
	c.Backend.Validate(p.In("backend"))
	c.Consumer.Validate(p.In("consumer"))
}

// LoadConfig reads and checks a config file.
func LoadConfig(path string) (Config, error) {
	cfg := DefaultConfig()
	if err := config.Load(path, &cfg); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// LoadCounterConfig reads the counter's config: a file of its own, or its section of a composite one.
func LoadCounterConfig(path string) (counter.Config, error) {
	kind, err := GuessKind(path)
	if err != nil {
		return counter.Config{}, err
	}
	if kind != "counter" {
		cfg, err := LoadConfig(path)
		return cfg.Counter, err
	}
	cfg := counter.DefaultConfig()
	if err := config.Load(path, &cfg); err != nil {
		return counter.Config{}, err
	}
	return cfg, nil
}

// APIAddress is where the operator's commands go.
func (c *Config) APIAddress() string {
	if c.API != "" {
		return c.API
	}
	return "http://" + reachable(c.Interceptor.Listen)
}

// AdminAddresses are the admin ports of all programs.
func (c *Config) AdminAddresses() []string {
	if len(c.Admins) > 0 {
		return c.Admins
	}
	return []string{c.AdminAddress()}
}

// AdminAddress is the admin port of a process that runs all layers.
func (c *Config) AdminAddress() string { return reachable(c.Service.Admin) }

// reachable turns an address to listen on into one to connect to.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Tokens are the keys that sign: those of the backend.
func (c *Config) Tokens() auth.TokenConfig { return c.Backend.Tokens }

// AuditSources are the backend's counter, ledger and queue.
func (c *Config) AuditSources() AuditSources {
	return AuditSources{Counter: c.Backend.Counter, Ledger: c.Backend.Database, Queue: c.Backend.Queue, Topic: consumer.Topic, TicketKeys: c.Backend.TicketKeys, Payment: c.Backend.Payment}
}

// ShardNames are the counter's shards.
func (c *Config) ShardNames() []string {
	names := make([]string, len(c.Backend.Counter.Shards))
	for i, shard := range c.Backend.Counter.Shards {
		names[i] = shard.Name
	}
	return names
}
