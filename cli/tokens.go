package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// MaxTokens bounds the users of one WriteTokens.
const MaxTokens = 10_000_000

// TokenSpec says which tokens to sign.
type TokenSpec struct {
	Users  int           // 1 to MaxTokens
	Prefix string        // of the users' names: "u" gives u000001, u000002, ...
	Life   time.Duration // at least a second; 0: as the config says
}

// WriteTokens writes CSV with the header `user,token` and one signed token a line. It streams: memory
// does not grow with the number of users.
func WriteTokens(w io.Writer, tokens auth.TokenConfig, spec TokenSpec, now time.Time) error {
	if spec.Users < 1 || spec.Users > MaxTokens {
		return fmt.Errorf("users: want 1 to %d, got %d", MaxTokens, spec.Users)
	}
	if err := sale.CheckUser(userName(spec, spec.Users)); err != nil {
		return fmt.Errorf("prefix: %q makes no user name: %w", spec.Prefix, err)
	}
	if spec.Life != 0 {
		tokens.Lifetime = spec.Life
	}
	signer, err := NewSigner(tokens)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if _, err := out.WriteString("user,token\n"); err != nil {
		return fmt.Errorf("writing tokens: %w", err)
	}
	for i := 1; i <= spec.Users; i++ {
		user := userName(spec, i)
		token, _, err := signer.SignFor(user, user, nil, now)
		if err != nil {
			return fmt.Errorf("signing a token for %s: %w", user, err)
		}
		if _, err := fmt.Fprintf(out, "%s,%s\n", user, token); err != nil {
			return fmt.Errorf("writing tokens: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing tokens: %w", err)
	}
	return nil
}

func userName(spec TokenSpec, i int) string { return fmt.Sprintf("%s%06d", spec.Prefix, i) }

// NewSigner makes tokens with the configured key, as long as the config names one that signs.
func NewSigner(tokens auth.TokenConfig) (*auth.Signer, error) {
	if tokens.SigningKey == "" {
		return nil, errors.New("signing_key: the config names no key that signs tokens; use the config of a program that does (backend.tokens.signing_key)")
	}
	var p config.Problems
	tokens.Validate(p.In("tokens"))
	if err := p.Err(); err != nil {
		return nil, err
	}
	return auth.NewSigner(tokens)
}

// WriteTokenFile is WriteTokens into a file that only its owner may read, since each line signs
// somebody in. The file appears under its name when it is complete.
func WriteTokenFile(path string, tokens auth.TokenConfig, spec TokenSpec, now time.Time) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".tokens-*")
	if err != nil {
		return fmt.Errorf("writing tokens: %w", err)
	}
	err = WriteTokens(file, tokens, spec, now)
	if closing := file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("writing tokens: %w", closing)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
