package sale

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Limits of a sale's terms. Beyond them Validate refuses.
const (
	MaxSaleIDBytes   = 64
	MaxUserBytes     = 64
	MaxKeyBytes      = 64  // an Idempotency-Key
	MaxReasonBytes   = 256 // why a hold was aborted or released, or somebody banned
	MaxUnits         = 1_000_000_000
	MaxQuantity      = 1000 // units in one order
	MaxReleases      = 100
	MaxShards        = 64
	MinHoldForMillis = 1_000
	MaxHoldForMillis = 600_000
)

// Terms are what SALE.OPEN carries: everything that the counter needs to know of a sale. Times are
// wall-clock milliseconds since 1970.
type Terms struct {
	ID       string `json:"id"`
	Revision int64  `json:"revision"`
	// Stock is the number of units for sale, over all shards.
	Stock int64 `json:"stock"`
	// Limit is the number of units one user may hold or have bought; 0 means no limit.
	Limit int64 `json:"limit"`
	// OpensAt is when buying begins.
	OpensAt int64 `json:"opens_at"`
	// EndsAt is when it ends; 0 means it does not end by itself.
	EndsAt int64 `json:"ends_at,omitempty"`
	// Releases put parts of the stock on sale later, in ascending order of time. What they do not
	// name is available from OpensAt.
	Releases []Release `json:"releases,omitempty"`
	// HoldForMillis is how long a hold waits for its CONFIRM, in served time.
	HoldForMillis int64 `json:"hold_for_ms"`
	// RetainForMillis is how long finished holds are kept, in served time.
	RetainForMillis int64 `json:"retain_for_ms"`
	// Shards are the counter shards, in ring order, that share the stock.
	Shards []string `json:"shards"`
	// Ring pins the parameters of the ring that spreads users over Shards.
	Ring Ring `json:"ring"`
}

// Release is one staged part of the stock.
type Release struct {
	At    int64 `json:"at"`
	Units int64 `json:"units"`
}

// Ring holds the parameters of a consistent-hash ring, so that a sale keeps its placement when the
// defaults change.
type Ring struct {
	Partitions int     `json:"partitions"`
	Replicas   int     `json:"replicas"`
	Load       float64 `json:"load"`
}

// FieldError names the field of a request that is wrong, and why.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

func fieldError(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// ParseTerms reads the JSON of SALE.OPEN. Unknown fields are refused. Errors are *FieldError.
func ParseTerms(text []byte) (Terms, error) {
	var terms Terms
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&terms); err != nil {
		return Terms{}, jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Terms{}, fieldError("json", "unexpected text after the object")
	}
	return terms, terms.Validate()
}

func jsonError(err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return fieldError(wrongType.Field, "want %s, got a JSON %s", wrongType.Type, wrongType.Value)
	}
	return fieldError("json", "%s", err)
}

// Validate checks each field and the relations between them. Errors are *FieldError.
func (t *Terms) Validate() error {
	if err := CheckSaleID(t.ID); err != nil {
		return err
	}
	switch {
	case t.Revision < 1:
		return fieldError("revision", "must be at least 1, is %d", t.Revision)
	case t.Stock < 0 || t.Stock > MaxUnits:
		return fieldError("stock", "must be 0 to %d units, is %d", MaxUnits, t.Stock)
	case t.Limit < 0 || t.Limit > MaxUnits:
		return fieldError("limit", "must be 0 (no limit) to %d units, is %d", MaxUnits, t.Limit)
	case t.OpensAt <= 0 || t.OpensAt > maxMillis:
		return fieldError("opens_at", "must be milliseconds since 1970, is %d", t.OpensAt)
	case t.EndsAt < 0 || t.EndsAt > maxMillis:
		return fieldError("ends_at", "must be milliseconds since 1970 or 0, is %d", t.EndsAt)
	case t.EndsAt != 0 && t.EndsAt <= t.OpensAt:
		return fieldError("ends_at", "must be later than opens_at")
	case t.HoldForMillis < MinHoldForMillis || t.HoldForMillis > MaxHoldForMillis:
		return fieldError("hold_for_ms", "must be %d to %d, is %d", MinHoldForMillis, MaxHoldForMillis, t.HoldForMillis)
	case t.RetainForMillis <= t.HoldForMillis || t.RetainForMillis > maxMillis:
		return fieldError("retain_for_ms", "must be longer than hold_for_ms (%d), is %d", t.HoldForMillis, t.RetainForMillis)
	case len(t.Releases) > MaxReleases:
		return fieldError("releases", "must be at most %d, are %d", MaxReleases, len(t.Releases))
	case len(t.Shards) < 1 || len(t.Shards) > MaxShards:
		return fieldError("shards", "must name 1 to %d shards, names %d", MaxShards, len(t.Shards))
	}
	if err := t.checkReleases(); err != nil {
		return err
	}
	return t.checkPlacement()
}

const maxMillis = math.MaxInt64 / 1_000_000 // what a time in nanoseconds can still hold

func (t *Terms) checkReleases() error {
	var staged, last int64
	for i, r := range t.Releases {
		field := fmt.Sprintf("releases[%d]", i)
		switch {
		case r.Units < 1 || r.Units > t.Stock-staged:
			return fieldError(field+".units", "must be at least 1 and leave the sum within stock (%d), is %d", t.Stock, r.Units)
		case r.At < t.OpensAt || r.At > maxMillis:
			return fieldError(field+".at", "must not be before opens_at")
		case r.At <= last:
			return fieldError(field+".at", "must be later than the release before it")
		case t.EndsAt != 0 && r.At >= t.EndsAt:
			return fieldError(field+".at", "must be before ends_at")
		}
		staged += r.Units
		last = r.At
	}
	return nil
}

func (t *Terms) checkPlacement() error {
	seen := make(map[string]bool, len(t.Shards))
	for i, name := range t.Shards {
		if err := CheckName(fmt.Sprintf("shards[%d]", i), name); err != nil {
			return err
		}
		if seen[name] {
			return fieldError(fmt.Sprintf("shards[%d]", i), "%q is named twice", name)
		}
		seen[name] = true
	}
	r := t.Ring
	switch {
	case r.Partitions < len(t.Shards) || r.Partitions > 65_521:
		return fieldError("ring.partitions", "must be at least the number of shards and at most 65521, is %d", r.Partitions)
	case r.Replicas < 1 || r.Replicas > 1000:
		return fieldError("ring.replicas", "must be 1 to 1000, is %d", r.Replicas)
	case !(r.Load > 1 && r.Load <= 10):
		return fieldError("ring.load", "must be above 1 and at most 10, is %v", r.Load)
	}
	return nil
}

// CheckSaleID accepts 1 to 64 of a-z A-Z 0-9 . _ -, not starting with a dot, so that an id is safe in
// paths, keys and file names.
func CheckSaleID(id string) error { return CheckName("id", id) }

// CheckName is CheckSaleID for another field.
func CheckName(field, name string) error {
	if len(name) < 1 || len(name) > MaxSaleIDBytes || name[0] == '.' {
		return fieldError(field, "must be 1 to %d characters and not start with a dot", MaxSaleIDBytes)
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fieldError(field, "may hold letters, digits, dot, underscore and hyphen only")
		}
	}
	return nil
}

// CheckUser accepts 1 to 64 printable ASCII characters without spaces.
func CheckUser(user string) error {
	if len(user) < 1 || len(user) > MaxUserBytes {
		return fieldError("user", "must be 1 to %d characters", MaxUserBytes)
	}
	return checkPrintable("user", user)
}

// CheckKey accepts an empty request key, or up to 64 printable ASCII characters without spaces.
func CheckKey(key string) error {
	if len(key) > MaxKeyBytes {
		return fieldError("key", "must be at most %d characters", MaxKeyBytes)
	}
	return checkPrintable("key", key)
}

func checkPrintable(field, text string) error {
	if !printable(text) {
		return fieldError(field, "may hold printable ASCII without spaces only")
	}
	return nil
}

// printable looks at eight characters at a time: it is asked of every user and key, more than once.
func printable(text string) bool {
	const every = 0x0101010101010101
	for ; len(text) >= 8; text = text[8:] {
		eight := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		// The upper bit of a byte is set by 0x80 and more, by '~'+1 and more, and, as a borrow, below '!'. A borrow
		// may set that of the next byte too, but then the text is refused already.
		if (eight|(eight+(0x7f-'~')*every)|(eight-'!'*every))&(0x80*every) != 0 {
			return false
		}
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
