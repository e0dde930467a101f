package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Bounds of passwords.
const (
	MinPasswordBytes = 8
	MaxPasswordBytes = 256
)

// What argon2id costs: OWASP's current advice of 19 MiB, two passes, one lane.
const (
	argonMemoryKiB = 19 * 1024
	argonTime      = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonHashBytes = 32
)

// Why a password is refused.
var (
	// ErrPassword says that a password is not that of the account.
	ErrPassword = errors.New("the password is wrong")
	// ErrPasswordForm says that a password cannot be set.
	ErrPasswordForm = fmt.Errorf("a password must have %d to %d bytes of UTF-8", MinPasswordBytes, MaxPasswordBytes)
	// ErrPasswordHash says that what is stored is no hash of ours.
	ErrPasswordHash = errors.New("the stored password hash is malformed")
)

// Passwords hashes and checks passwords with argon2id. Each takes 19 MiB and tens of milliseconds of
// a core, so that only so many run at once; the others wait as long as their context allows, and how many
// may wait is the caller's to bound. A program makes one and shares it.
type Passwords struct{ slots chan struct{} }

// NewPasswords allows concurrency hashes at once; 0 means half as many as there are CPUs, and at
// least one, so that people who sign in do not slow down those who buy.
func NewPasswords(concurrency int) *Passwords {
	if concurrency < 1 {
		concurrency = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return &Passwords{slots: make(chan struct{}, concurrency)}
}

// HashPassword gives the hash to store, in the PHC string format. Errors are ErrPasswordForm, or the
// context's when it ends before a slot is free.
func (p *Passwords) HashPassword(ctx context.Context, password string) (string, error) {
	if len(password) < MinPasswordBytes || len(password) > MaxPasswordBytes || !utf8.ValidString(password) {
		return "", ErrPasswordForm
	}
	salt := make([]byte, argonSaltBytes)
	_, _ = rand.Read(salt) // never fails: the program ends when the system has no randomness
	ours := phc{memory: argonMemoryKiB, time: argonTime, lanes: argonLanes, salt: salt}
	sum, err := p.derive(ctx, password, ours, argonHashBytes)
	if err != nil {
		return "", err
	}
	ours.sum = sum
	return ours.String(), nil
}

// CheckPassword compares a password with a stored hash: nil when they agree, else ErrPassword,
// ErrPasswordHash, or the context's error. With an empty hash (there is no such account) it does the
// same work and answers ErrPassword, so that the time taken does not tell which accounts exist.
func (p *Passwords) CheckPassword(ctx context.Context, hash, password string) error {
	stored := phc{memory: argonMemoryKiB, time: argonTime, lanes: argonLanes, salt: make([]byte, argonSaltBytes)}
	if hash != "" {
		var err error
		if stored, err = parsePHC(hash); err != nil {
			return err
		}
	}
	if len(password) > MaxPasswordBytes {
		return ErrPassword
	}
	sum, err := p.derive(ctx, password, stored, max(len(stored.sum), 1))
	if err != nil {
		return err
	}
	if hash == "" || subtle.ConstantTimeCompare(sum, stored.sum) != 1 {
		return ErrPassword
	}
	return nil
}

func (p *Passwords) derive(ctx context.Context, password string, h phc, length int) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to hash a password: %w", context.Cause(ctx))
	}
	defer func() { <-p.slots }()
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(length)), nil
}

// phc is a hash with its parameters: $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>.
type phc struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

func (h phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.lanes,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

// parsePHC reads a stored hash. The parameters are bounded, so that a damaged row cannot take a
// gigabyte.
func parsePHC(text string) (phc, error) {
	parts := strings.Split(text, "$")
	if len(text) > 256 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, ErrPasswordHash
	}
	var h phc
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return phc{}, ErrPasswordHash
	}
	memory, ok1 := cost(costs[0], "m=", 8, 256*1024)
	passes, ok2 := cost(costs[1], "t=", 1, 16)
	lanes, ok3 := cost(costs[2], "p=", 1, 16)
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || len(salt) < 8 || len(sum) < 16 {
		return phc{}, ErrPasswordHash
	}
	h.memory, h.time, h.lanes, h.salt, h.sum = memory, passes, uint8(lanes), salt, sum
	return h, nil
}

func cost(text, prefix string, least, most uint64) (uint32, bool) {
	digits, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n >= least && n <= most
}
