package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// mask stands for a secret's text.
const mask = "***"

// Secret is a password, key or address with credentials. It prints, logs and marshals as "***" (and
// as nothing when it is empty, so that an operator sees that it is not set). Only Reveal gives the
// text. Keep Secrets in exported fields: fmt cannot call methods of unexported ones, and would print
// the text when somebody prints the whole struct.
type Secret string

// Reveal gives the secret's text. Call it only where the secret is used.
func (s Secret) Reveal() string { return string(s) }

// String is the mask.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString is the mask, for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format writes the mask whatever the verb is, %x and %d included.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = s.GoString()
	}
	_, _ = io.WriteString(f, text) // fmt's own writers do not fail
}

// MarshalText gives the mask.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON gives the mask.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML gives the mask.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue gives the mask to slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
