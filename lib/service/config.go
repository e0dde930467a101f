package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"headgate.example/lib/config"
)

// The modes of a program.
const (
	Production  = "production"
	Development = "development"
)

// MaxDrain bounds drain_for.
const MaxDrain = 10 * time.Minute

// Config is the `service` section of every program.
type Config struct {
	// Mode is production (default) or development, where samples' and short secrets are accepted, with a
	// warning at each start: see config.CheckSecrets.
	Mode string `yaml:"mode"`
	// Admin is the host:port of the admin listener; "" opens none. Without a host it listens on
	// 127.0.0.1: whoever reaches it may read figures and stop-the-world profiles.
	Admin     string        `yaml:"admin"`
	LogLevel  string        `yaml:"log_level"`  // debug, info, warn or error
	LogFormat string        `yaml:"log_format"` // text or json
	DrainFor  time.Duration `yaml:"drain_for"`  // how long work that was taken may take to finish when stopping
}

// DefaultConfig is for production: it has no admin listener, logs text from info on, and drains for 20 seconds.
func DefaultConfig() Config {
	return Config{Mode: Production, LogLevel: "info", LogFormat: "text", DrainFor: 20 * time.Second}
}

// Validate checks each field.
func (c *Config) Validate(p *config.Problems) {
	if c.Mode != Production && c.Mode != Development {
		p.Addf("mode", "must be %s or %s, is %q", Production, Development, c.Mode)
	}
	if c.Admin != "" {
		if err := CheckAddress(c.Admin); err != nil {
			p.Addf("admin", "%v", err)
		}
	}
	if _, err := parseLevel(c.LogLevel); err != nil {
		p.Addf("log_level", "%v", err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		p.Addf("log_format", "must be text or json, is %q", c.LogFormat)
	}
	if c.DrainFor <= 0 || c.DrainFor > MaxDrain {
		p.Addf("drain_for", "must be above 0 and at most %s, is %s", MaxDrain, c.DrainFor)
	}
}

// CheckSecrets reports the secrets of the program's config that can be guessed, unless this is development.
func (c *Config) CheckSecrets(p *config.Problems, program any) {
	if c.Mode != Development {
		config.CheckSecrets(p, program)
	}
}

// warnOfMode says at the start what production would refuse.
func warnOfMode(section Config, program any, log *slog.Logger) {
	if section.Mode != Development {
		return
	}
	var p config.Problems
	config.CheckSecrets(&p, program)
	var weak *config.Error
	if !errors.As(p.Err(), &weak) {
		log.Info("service.mode is development; the secrets would do for production, too")
		return
	}
	for _, w := range weak.Problems {
		log.Warn("DEVELOPMENT MODE: this secret can be guessed, and production refuses it; never let strangers reach this program", "field", w.Field, "reason", w.Reason)
	}
}

// CheckAddress accepts host:port to listen on, where the host may be empty and the port 0 (any).
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("must be host:port such as 127.0.0.1:8180, is %q", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("the port must be 0 to 65535, is %q", port)
	}
	return nil
}

func parseLevel(word string) (slog.Level, error) {
	switch strings.ToLower(word) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("must be debug, info, warn or error, is %q", word)
}

// NewLogger makes the program's logger.
func NewLogger(c Config, w io.Writer) (*slog.Logger, error) {
	level, err := parseLevel(c.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("log_level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}
