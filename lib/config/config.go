package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a config file.
const (
	MaxBytes = 1 << 20 // bytes of text
	MaxDepth = 32      // levels of nesting
	MaxNodes = 50_000  // values, each alias counted as what it stands for
)

// FormatVersion is what a file may say at its top as `version`. It grows when a key changes its meaning.
const FormatVersion = 1

// Load reads a YAML file over the defaults in into, a pointer to a struct, and validates the result.
// A file that cannot be read gives the system's error, anything else an *Error.
func Load(path string, into any) error {
	text, err := ReadFile(path)
	if err != nil {
		return err
	}
	return Parse(path, text, into)
}

// ReadFile gives the text of a config file, of one that is too long for Parse just enough to say so.
// The errors are the system's.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	return text, nil
}

// Parse is Load for text; name stands for the file's name in problems. Empty text leaves the defaults,
// which are then validated. Errors are *Error.
func Parse(name string, text []byte, into any) error {
	return parse(name, text, into, os.LookupEnv)
}

// ParseChecked is Parse with a further check, which is called after Validate: it reports what is right in
// itself but cannot be taken here, such as a change of what cannot be changed while a program runs.
func ParseChecked(name string, text []byte, into Validator, check func(*Problems)) error {
	return parse(name, text, &checked{into, check}, os.LookupEnv)
}

// checked is a config with a further check.
type checked struct {
	Validator
	check func(*Problems)
}

func (c *checked) Validate(p *Problems) {
	c.Validator.Validate(p)
	c.check(p)
}

// Check validates a config that did not come from a file. Errors are *Error.
func Check(c Validator) error {
	var p Problems
	c.Validate(&p)
	return p.Err()
}

func parse(name string, text []byte, into any, lookup func(string) (string, bool)) error {
	found := &collected{file: name, lines: map[string]int{"": 1}}
	problems := &Problems{shared: found}
	if len(text) > MaxBytes {
		problems.Addf("", "the file must be at most %d bytes", MaxBytes)
		return problems.Err()
	}
	root := readTree(text, found)
	if len(found.list) > 0 { // no YAML: nothing to validate
		return problems.Err()
	}
	d := &decoder{found: found, lookup: lookup}
	target := into
	if c, ok := into.(*checked); ok {
		target = c.Validator
	}
	if root != nil {
		d.decodeRoot(root, target)
	}
	if v, ok := into.(Validator); ok && !d.full {
		unread := slices.Clone(found.list)
		v.Validate(problems)
		found.list = dropEchoes(found.list, unread)
	}
	return problems.Err()
}

// dropEchoes removes what Validate said of fields that could not be read: they hold a default, so it
// would mislead.
func dropEchoes(list, unread []Problem) []Problem {
	kept := list[:len(unread)]
	for _, p := range list[len(unread):] {
		if !slices.ContainsFunc(unread, func(u Problem) bool { return within(p.Field, u.Field) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// within reports whether a path is another one or lies below it.
func within(path, section string) bool {
	rest, ok := strings.CutPrefix(path, section)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// readTree gives the first document's root, or nil when there is none or it is no YAML.
func readTree(text []byte, found *collected) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	err := dec.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		line, reason := syntaxProblem(err, text)
		found.add(line, "", reason)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		found.add(second.Line, "", "a second document begins here: a config is one YAML document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		line, reason := syntaxProblem(err, text)
		found.add(line, "", reason)
		return nil
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) == 0 {
		return nil
	}
	return document.Content[0]
}

// Masked gives the effective config as YAML, secrets masked.
func Masked(v any) (text []byte, err error) {
	defer func() {
		if r := recover(); r != nil { // the encoder panics on types that YAML cannot hold
			err = fmt.Errorf("writing the config as YAML: %v", r)
		}
	}()
	return yaml.Marshal(v)
}

// Common is a config that holds things which are each node's own, such as its name and addresses.
type Common interface {
	// Common gives the config without them.
	Common() any
}

// Hash is a short hash of the effective config, equal on nodes that are configured alike: it is that of
// Common where there is one. Secrets do not take part, since a hash that is shown would let weak ones be
// guessed.
func Hash(v any) string {
	if c, ok := v.(Common); ok {
		v = c.Common()
	}
	text, err := Masked(v)
	if err != nil {
		return "unknown"
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
