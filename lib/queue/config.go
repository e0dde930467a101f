package queue

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"headgate.example/lib/config"
)

// The drivers that a Config may name.
const (
	Embedded = "embedded"
	RabbitMQ = "rabbitmq"
)

// MaxBrokers bounds the nodes of a cluster that a Config may name.
const MaxBrokers = 16

// Brokers splits the address of a cluster into one for each node. Its error does not repeat the address.
func Brokers(address string) ([]string, error) {
	wrong := errors.New("not the address of a broker")
	scheme, rest, found := strings.Cut(address, "://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	authority, path := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@') + 1
	hosts := strings.Split(authority[at:], ",")
	if !found || len(hosts) > MaxBrokers {
		return nil, wrong
	}
	brokers := make([]string, len(hosts))
	for i, host := range hosts {
		brokers[i] = scheme + "://" + authority[:at] + host + path
		u, err := url.Parse(brokers[i])
		if err != nil || (u.Scheme != "amqp" && u.Scheme != "amqps") || u.Hostname() == "" {
			return nil, wrong //nolint:nilerr // it would show the password
		}
	}
	return brokers, nil
}

// Config chooses a driver and bounds it.
type Config struct {
	Driver string `yaml:"driver"` // embedded (default) or rabbitmq

	// Path is the SQLite file of the embedded driver. Several handles and processes of one machine may
	// use the same file; a network file system will not do.
	Path string `yaml:"path"`

	// URL is the broker's address: amqp://user:password@host:port/vhost, or amqps. Of a cluster, name
	// every node, host:port,host:port: one that can be reached is used. At most MaxBrokers.
	URL config.Secret `yaml:"url" secret:"address"`

	// Prefix begins the names of the broker's exchanges and queues; default headgate.
	Prefix string `yaml:"prefix"`

	// Channels is the number of channels that publishers share; default 4, 1 to 16.
	Channels int `yaml:"channels"`

	// MaxReady bounds the ready messages of a topic; beyond it messages are refused. Messages that are
	// delivered do not count, those that are delayed have a bound of their own, as high (on a broker: for
	// each step of delays), and so have a broker's dead letters. Concurrent publishers may overshoot a
	// little. 0: no bound. Default 1,000,000. On a broker it is fixed when a queue is first declared.
	MaxReady int `yaml:"max_ready"`

	// DeliveryLimit moves a message that came so many times without being settled to the dead letters:
	// a backstop against a message that kills its consumer. Keep it high, since a consumer's crash loop
	// counts against healthy messages too. Default 1000. On a broker it is fixed as MaxReady is.
	DeliveryLimit int `yaml:"delivery_limit"`

	// PublishTimeout bounds Publish, whatever its context says; default 5s.
	PublishTimeout time.Duration `yaml:"publish_timeout"`

	// BrokerWait is how long a message waits for a broker that is away or blocked before it is refused;
	// default 1s, at most PublishTimeout.
	BrokerWait time.Duration `yaml:"broker_wait"`
}

// DefaultConfig is the embedded driver in ./data/queue.db.
func DefaultConfig() Config {
	return Config{
		Driver:         Embedded,
		Path:           "data/queue.db",
		Prefix:         "headgate",
		Channels:       4,
		MaxReady:       1_000_000,
		DeliveryLimit:  1000,
		PublishTimeout: 5 * time.Second,
		BrokerWait:     time.Second,
	}
}

// Validate names each field that cannot be used.
func (c *Config) Validate(p *config.Problems) {
	switch c.Driver {
	case Embedded:
		if c.Path == "" {
			p.Addf("path", "the embedded driver needs the path of its file")
		}
	case RabbitMQ:
		c.validateBroker(p)
	default:
		p.Addf("driver", "%.40q is no driver: want %s or %s", c.Driver, Embedded, RabbitMQ)
	}
	if c.MaxReady < 0 {
		p.Addf("max_ready", "%d: want 0 (no bound) or more messages", c.MaxReady)
	}
	if c.DeliveryLimit < 10 {
		p.Addf("delivery_limit", "%d: want at least 10, lest restarts of a consumer dead-letter healthy messages", c.DeliveryLimit)
	}
	if c.PublishTimeout < 100*time.Millisecond || c.PublishTimeout > time.Minute {
		p.Addf("publish_timeout", "%s: want 100ms to 1m", c.PublishTimeout)
	}
	if c.BrokerWait < 0 || c.BrokerWait > c.PublishTimeout {
		p.Addf("broker_wait", "%s: want 0 to publish_timeout (%s)", c.BrokerWait, c.PublishTimeout)
	}
}

func (c *Config) validateBroker(p *config.Problems) {
	_, err := Brokers(c.URL.Reveal())
	switch { // the address holds a password: never show it
	case c.URL == "":
		p.Addf("url", "the rabbitmq driver needs the broker's address, amqp://user:password@host:port/vhost")
	case err != nil:
		p.Addf("url", "not the address of a broker: want amqp://user:password@host:port/vhost, or amqps, with up to %d hosts separated by commas", MaxBrokers)
	}
	if err := CheckTopic(c.Prefix); err != nil {
		p.Addf("prefix", "%.80q: want 1 to %d letters a-z, digits, '_' or '-'", c.Prefix, MaxTopicBytes)
	}
	if c.Channels < 1 || c.Channels > 16 {
		p.Addf("channels", "%d: want 1 to 16", c.Channels)
	}
}
