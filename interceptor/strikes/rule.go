package strikes

import (
	"fmt"
	"time"

	"headgate.example/lib/config"
)

// Offence is a kind of refused behaviour.
type Offence uint8

// The offences. Whoever is charged has been proven: a user by a valid token, an address by the
// connection or a trusted proxy. What a bad token or a malformed request says of its user proves nothing.
const (
	None         Offence = iota
	TooSoon              // pressed again before the interval was over: the user
	ForgedTicket         // a ticket that is not ours, or another user's: the user
	BadToken             // a token that was never valid: the address
	Malformed            // a request that cannot be understood: the address

	offences
)

var offenceNames = [offences]string{None: "none", TooSoon: "too_soon", ForgedTicket: "forged_ticket", BadToken: "bad_token", Malformed: "malformed"}

// String is the offence's name in config, metrics and lists.
func (o Offence) String() string {
	if o < offences {
		return offenceNames[o]
	}
	return fmt.Sprintf("Offence(%d)", uint8(o))
}

// Known reports whether it is one of Offences.
func (o Offence) Known() bool { return o > None && o < offences }

// Offences lists all but None.
func Offences() []Offence { return []Offence{TooSoon, ForgedTicket, BadToken, Malformed} }

// The modes of a rule.
const (
	Off     = "off"     // nothing is counted
	Shadow  = "shadow"  // counted; a ban is only reported
	Enforce = "enforce" // counted, and a ban is made
)

// Rule says when strikes of one offence ban, and for how long.
type Rule struct {
	// Mode is off, shadow or enforce.
	Mode string `yaml:"mode"`
	// Count is the strikes that ban. The window begins with the first of them: fewer than Count in any
	// window never ban, and 2 x Count - 1 in one always do.
	Count  int           `yaml:"count"`
	Window time.Duration `yaml:"window"`
	// BanFor is how long the ban lasts. Strikes during it count for nothing.
	BanFor time.Duration `yaml:"ban_for"`
}

// Rules are the rules of all offences.
type Rules struct {
	// TooSoon bans users who press on after having been told to wait.
	TooSoon Rule `yaml:"too_soon"`
	// ForgedTicket bans users who send tickets that are not theirs.
	ForgedTicket Rule `yaml:"forged_ticket"`
	// BadToken bans addresses (IPv6: /64) that send tokens which were never valid; expired and revoked
	// ones do not count. Take it to shadow before you withdraw a signing key that is in use.
	BadToken Rule `yaml:"bad_token"`
	// Malformed bans addresses (IPv6: /64) that send requests which cannot be understood.
	Malformed Rule `yaml:"malformed"`
}

// DefaultRules ban users for a minute after 100 presses that came too soon within 10 s, and for 10
// minutes after 5 forged tickets within a minute. The rules of addresses are in shadow: many people may
// share one address, and all do behind a balancer that trusted_proxies does not name.
func DefaultRules() Rules {
	return Rules{
		TooSoon:      Rule{Mode: Enforce, Count: 100, Window: 10 * time.Second, BanFor: time.Minute},
		ForgedTicket: Rule{Mode: Enforce, Count: 5, Window: time.Minute, BanFor: 10 * time.Minute},
		BadToken:     Rule{Mode: Shadow, Count: 50, Window: 10 * time.Second, BanFor: time.Minute},
		Malformed:    Rule{Mode: Shadow, Count: 50, Window: 10 * time.Second, BanFor: time.Minute},
	}
}

// Bounds of a rule.
const (
	MaxCount  = 1_000_000
	MaxWindow = time.Hour
	MaxBan    = 7 * 24 * time.Hour
)

// Validate checks every rule, those that are off too.
func (r *Rules) Validate(p *config.Problems) {
	for _, o := range Offences() {
		r.of(o).validate(p.In(o.String()))
	}
}

func (r *Rules) of(o Offence) *Rule {
	switch o {
	case TooSoon:
		return &r.TooSoon
	case ForgedTicket:
		return &r.ForgedTicket
	case BadToken:
		return &r.BadToken
	default:
		return &r.Malformed
	}
}

func (r *Rule) validate(p *config.Problems) {
	if r.Mode != Off && r.Mode != Shadow && r.Mode != Enforce {
		p.Addf("mode", "must be %s, %s or %s, is %q", Off, Shadow, Enforce, r.Mode)
	}
	if r.Count < 1 || r.Count > MaxCount {
		p.Addf("count", "must be 1 to %d, is %d", MaxCount, r.Count)
	}
	if r.Window < time.Millisecond || r.Window > MaxWindow {
		p.Addf("window", "must be 1ms to %s, is %s", MaxWindow, r.Window)
	}
	if r.BanFor < time.Second || r.BanFor > MaxBan {
		p.Addf("ban_for", "must be 1s to %s, is %s", MaxBan, r.BanFor)
	}
}
