package route

import (
	"fmt"
	"slices"
	"strings"
)

// MaxSegments bounds the segments of a pattern.
const MaxSegments = 16

// Pattern is a parsed path pattern: literal segments, at most one {name} segment, and at the end
// possibly "*", which stands for the rest of the path, empty or not.
type Pattern struct {
	text      string
	segments  []string // "" stands for {name}
	prefix    string   // what every path that fits begins with: the segments before {name}
	parameter int      // index of {name}, -1 without
	name      string   // of {name}
	rest      bool     // ends in *
}

// ParsePattern reads a pattern such as /api/sales/{sale}/orders or /assets/*.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text, parameter: -1}
	if !strings.HasPrefix(text, "/") {
		return Pattern{}, fmt.Errorf("must start with a slash")
	}
	if text == "/" {
		return p, nil
	}
	segments := strings.Split(text[1:], "/")
	if len(segments) > MaxSegments {
		return Pattern{}, fmt.Errorf("must have at most %d segments", MaxSegments)
	}
	for i, s := range segments {
		switch {
		case s == "*":
			if i != len(segments)-1 {
				return Pattern{}, fmt.Errorf("* may stand at the end only")
			}
			p.rest = true
		case strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) > 2:
			if p.parameter >= 0 {
				return Pattern{}, fmt.Errorf("may hold one {name} segment only")
			}
			p.parameter, p.name = i, s[1:len(s)-1]
			p.segments = append(p.segments, "")
		default:
			if !isLiteral(s) {
				return Pattern{}, fmt.Errorf("segment %q must be letters, digits, - . _ ~, or {name}, or * at the end", s)
			}
			p.segments = append(p.segments, s)
			if p.parameter < 0 {
				p.prefix += "/" + s
			}
		}
	}
	return p, nil
}

func isLiteral(segment string) bool {
	for i := range len(segment) {
		if !isUnreserved(segment[i]) {
			return false
		}
	}
	return !emptyOrDots([]byte(segment))
}

// String is the pattern as written.
func (p *Pattern) String() string { return p.text }

// Parameter is the name in {}, or "".
func (p *Pattern) Parameter() string { return p.name }

// Match reports whether the canonical path fits, and gives the text at {name}.
func (p *Pattern) Match(path []byte) (parameter []byte, ok bool) {
	if len(path) < len(p.prefix) || string(path[:len(p.prefix)]) != p.prefix {
		return nil, false
	}
	rest := path[1:]
	for i, want := range p.segments {
		if i > 0 {
			if len(rest) == 0 || rest[0] != '/' {
				return nil, false
			}
			rest = rest[1:]
		}
		n := segmentLength(rest)
		switch {
		case i == p.parameter:
			if n == 0 {
				return nil, false
			}
			parameter = rest[:n]
		case string(rest[:n]) != want:
			return nil, false
		}
		rest = rest[n:]
	}
	switch {
	case len(rest) == 0:
		return parameter, !p.rest || len(p.segments) == 0
	case p.rest:
		return parameter, len(p.segments) == 0 || rest[0] == '/'
	default:
		return nil, false
	}
}

func segmentLength(path []byte) int {
	for i, c := range path {
		if c == '/' {
			return i
		}
	}
	return len(path)
}

// Entry is one route of a Table.
type Entry struct {
	Pattern Pattern
	Methods []string // HEAD is accepted wherever GET is
}

// Table finds routes. The first entry that fits wins, in the order given.
type Table struct {
	entries []Entry
}

// NewTable makes a table.
func NewTable(entries []Entry) *Table { return &Table{entries: entries} }

// The result of Find for a path that has no route, or none for the method.
const (
	NoPath   = -1
	NoMethod = -2
)

// Find gives the index of the route and the text at {name}.
func (t *Table) Find(method, path []byte) (index int, parameter []byte) {
	index = NoPath
	for i := range t.entries {
		e := &t.entries[i]
		parameter, ok := e.Pattern.Match(path)
		if !ok {
			continue
		}
		if e.accepts(method) {
			return i, parameter
		}
		index = NoMethod
	}
	return index, nil
}

// Methods lists the methods that the path has routes for.
func (t *Table) Methods(path []byte) []string {
	var list []string
	for i := range t.entries {
		e := &t.entries[i]
		if _, ok := e.Pattern.Match(path); !ok {
			continue
		}
		for _, m := range e.Methods {
			if !slices.Contains(list, m) {
				list = append(list, m)
			}
		}
	}
	return list
}

func (e *Entry) accepts(method []byte) bool {
	if string(method) == "HEAD" {
		method = get
	}
	for _, m := range e.Methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

var get = []byte("GET") // read only
