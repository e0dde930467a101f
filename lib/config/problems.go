package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// MaxProblems bounds what is reported of one file; further problems are counted only.
const MaxProblems = 100

// Problem is one thing that is wrong with a config.
type Problem struct {
	File   string // "" when the config did not come from a file
	Line   int    // 0 when unknown
	Field  string // dotted path such as shards[0].name; "" for the file as a whole
	Reason string
}

// String is "file:line: field: reason", without the parts that are unknown.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Reason)
	return b.String()
}

// Error holds every problem of a config, in the order of lines.
type Error struct {
	Problems []Problem
	Omitted  int // problems beyond MaxProblems
}

// Error is one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	if e.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", e.Omitted))
	}
	return strings.Join(lines, "\n")
}

// unknownKey begins the reason of a key that the program does not have.
const unknownKey = "unknown key"

// Unknown reports whether the config has keys that the program does not know.
func (e *Error) Unknown() bool {
	return slices.ContainsFunc(e.Problems, func(p Problem) bool { return strings.HasPrefix(p.Reason, unknownKey) })
}

// Validator is a config or a section that checks itself: each field and the relations between them.
// Load calls Validate of the whole only; a section's is called by the config that holds it.
type Validator interface{ Validate(p *Problems) }

// Problems collects what is wrong. The zero value is ready for use. It is not safe for concurrent use.
type Problems struct {
	prefix string
	shared *collected
}

// collected is shared by a collector and everything that In made from it.
type collected struct {
	file    string
	lines   map[string]int // the line of each field that the file sets
	list    []Problem
	omitted int
}

func (p *Problems) all() *collected {
	if p.shared == nil {
		p.shared = &collected{}
	}
	return p.shared
}

// Addf reports that a field, relative to the collector, is wrong. An empty field means the section
// itself. Do not put the text of a Secret into the reason.
func (p *Problems) Addf(field, format string, args ...any) {
	path := join(p.prefix, field)
	p.all().add(p.shared.lineOf(path), path, fmt.Sprintf(format, args...))
}

// In gives a collector for a nested section, such as "service" or "shards[2]".
func (p *Problems) In(field string) *Problems {
	return &Problems{prefix: join(p.prefix, field), shared: p.all()}
}

// Err is nil when nothing is wrong, and else an *Error.
func (p *Problems) Err() error {
	c := p.all()
	if len(c.list) == 0 {
		return nil
	}
	list := slices.Clone(c.list)
	slices.SortStableFunc(list, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{Problems: list, Omitted: c.omitted}
}

func (c *collected) add(line int, path, reason string) {
	if len(c.list) >= MaxProblems {
		c.omitted++
		return
	}
	c.list = append(c.list, Problem{File: c.file, Line: line, Field: oneLine(path), Reason: oneLine(reason)})
}

// oneLine quotes what would break a problem's line, such as a key with a line break in it.
func oneLine(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// lineOf is the line of a field or else of the nearest section around it that the file names.
func (c *collected) lineOf(path string) int {
	for path != "" {
		if line, ok := c.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return c.lines[""]
}

// join extends a path by a field or an index ("[3]").
func join(prefix, field string) string {
	if prefix == "" || field == "" || field[0] == '[' {
		return prefix + field
	}
	return prefix + "." + field
}
