package payment

import (
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/config"
)

// Sandbox names the built-in provider.
const Sandbox = "sandbox"

// Config chooses a provider. Backend and consumer need the same.
type Config struct {
	// Provider is sandbox, or empty: then nothing can be paid here. Default empty.
	Provider string        `yaml:"provider"`
	Sandbox  SandboxConfig `yaml:"sandbox"`
	// Margin is how long before its order's deadline a payment expires, at most a quarter of the time
	// that is left; it is for the provider's last word. Default 30s.
	Margin time.Duration `yaml:"margin"`
	// AskAfter is how long a callback is waited for before the provider is asked; the pauses double
	// from there. Default 15s.
	AskAfter time.Duration `yaml:"ask_after"`
	// DoubtAfter is how long after a payment's expiry its order waits for a provider that does not
	// answer, or does not know the payment. Then the order's deadline counts; money that comes all the
	// same is refunded. Longer than the provider's clock may be behind the database's. Default 10m.
	DoubtAfter time.Duration `yaml:"doubt_after"`
}

// SandboxConfig is the built-in provider's.
type SandboxConfig struct {
	// Keys sign callbacks and pay pages. The first signs, all verify.
	Keys []auth.SymmetricKey `yaml:"keys"`
	// Notify is where callbacks go, an http address. Default: the backend that delivers them.
	Notify string `yaml:"notify"`
}

// DefaultConfig has no provider.
func DefaultConfig() Config {
	return Config{Margin: 30 * time.Second, AskAfter: 15 * time.Second, DoubtAfter: 10 * time.Minute}
}

// Validate names each field that cannot be used.
func (c *Config) Validate(p *config.Problems) {
	switch c.Provider {
	case "":
	case Sandbox:
		auth.ValidateKeys(p.In("sandbox"), "keys", c.Sandbox.Keys)
	default:
		p.Addf("provider", "%.40q is no provider: want %s, or nothing", c.Provider, Sandbox)
	}
	for field, d := range map[string]time.Duration{"margin": c.Margin, "ask_after": c.AskAfter, "doubt_after": c.DoubtAfter} {
		if d < 10*time.Millisecond || d > 24*time.Hour {
			p.Addf(field, "must be 10ms to 24h, is %s", d)
		}
	}
}
