package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// scalar is a scalar's text after ${NAME} was replaced.
type scalar struct {
	text  string
	tag   string // the YAML type; "" when the text comes from the environment and may be any
	shown string // how to call it in a problem: never what the environment held
}

// read gives a scalar's text; false when it is none or cannot be had, which is then reported.
func (d *decoder) read(n *yaml.Node, want, path string) (scalar, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.problem(n, path, "want %s, got %s", want, kindOf(n))
		return scalar{}, false
	case isNull(n):
		d.problem(n, path, "has no value: write %s, or remove the key to keep the default", want)
		return scalar{}, false
	}
	switch n.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
	default:
		d.problem(n, path, "the tag %s is not supported", n.Tag)
		return scalar{}, false
	}
	name, ok := variable(n.Value)
	if !ok {
		return scalar{text: n.Value, tag: n.Tag, shown: shorten(n.Value)}, true
	}
	text, set := d.lookup(name)
	if !set {
		d.problem(n, path, "the environment variable %s is not set", name)
		return scalar{}, false
	}
	return scalar{text: text, shown: "the value of the environment variable " + name}, true
}

// variable gives the name within ${NAME}.
func variable(text string) (string, bool) {
	name, ok := strings.CutPrefix(text, "${")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, "}")
	if !ok || name == "" {
		return "", false
	}
	for i := range len(name) {
		c := name[i]
		if !(c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return "", false
		}
	}
	return name, true
}

func (d *decoder) decodeText(n *yaml.Node, target reflect.Value, path string) {
	s, ok := d.read(n, "text", path)
	if !ok {
		return
	}
	fresh := reflect.New(target.Type())
	if err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s.text)); err != nil {
		if s.tag == "" { // the error may quote what the environment held
			d.problem(n, path, "%s is not valid here", s.shown)
			return
		}
		d.problem(n, path, "%v", err)
		return
	}
	target.Set(fresh.Elem())
}

func (d *decoder) decodeScalar(n *yaml.Node, target reflect.Value, path string) {
	if target.Type() == durationType {
		d.decodeDuration(n, target, path)
		return
	}
	switch target.Kind() {
	case reflect.String:
		if s, ok := d.read(n, "text", path); ok {
			if s.tag == "!!bool" {
				d.problem(n, path, "want text, got %s: put it in quotes", s.shown)
				return
			}
			target.SetString(s.text)
		}
	case reflect.Bool:
		if s, ok := d.read(n, "true or false", path); ok {
			value, err := strconv.ParseBool(strings.ToLower(s.text))
			if err != nil || s.tag != "" && s.tag != "!!bool" {
				d.problem(n, path, "want true or false, got %s", s.shown)
				return
			}
			target.SetBool(value)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.decodeInt(n, target, path)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.decodeUint(n, target, path)
	case reflect.Float32, reflect.Float64:
		d.decodeFloat(n, target, path)
	default:
		panic(fmt.Sprintf("config: %s: fields of type %s are not supported", path, target.Type()))
	}
}

func (d *decoder) decodeDuration(n *yaml.Node, target reflect.Value, path string) {
	s, ok := d.read(n, "a duration such as 30s", path)
	if !ok {
		return
	}
	value, err := time.ParseDuration(s.text)
	if err != nil {
		d.problem(n, path, "want a duration with a unit such as 500ms, 30s or 24h, got %s", s.shown)
		return
	}
	target.SetInt(int64(value))
}

// octalLike is a number that one reader takes for octal and another for decimal.
var octalLike = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

// digits is a whole number; YAML takes one beyond 64 bits for a float.
var digits = regexp.MustCompile(`^[-+]?[0-9]+$`)

// whole checks that a scalar is written as a whole number.
func (d *decoder) whole(n *yaml.Node, path string) (scalar, bool) {
	s, ok := d.read(n, "a whole number", path)
	switch {
	case !ok:
		return s, false
	case s.tag != "" && s.tag != "!!int" && !digits.MatchString(s.text) || s.tag == "!!str":
		d.problem(n, path, "want a whole number, got %s", s.shown)
		return s, false
	case octalLike.MatchString(s.text):
		d.problem(n, path, "write the number without a leading zero, or as 0o... if octal is meant")
		return s, false
	}
	return s, true
}

func (d *decoder) decodeInt(n *yaml.Node, target reflect.Value, path string) {
	s, ok := d.whole(n, path)
	if !ok {
		return
	}
	bits := target.Type().Bits()
	value, err := strconv.ParseInt(s.text, 0, bits)
	if err != nil {
		limit := int64(math.MaxInt64) >> (64 - bits)
		d.notInRange(n, path, s, err, fmt.Sprintf("%d to %d", -limit-1, limit))
		return
	}
	target.SetInt(value)
}

func (d *decoder) decodeUint(n *yaml.Node, target reflect.Value, path string) {
	s, ok := d.whole(n, path)
	if !ok {
		return
	}
	bits := target.Type().Bits()
	value, err := strconv.ParseUint(strings.TrimPrefix(s.text, "+"), 0, bits)
	if err != nil {
		if strings.HasPrefix(s.text, "-") {
			err = strconv.ErrRange
		}
		d.notInRange(n, path, s, err, fmt.Sprintf("0 to %d", uint64(math.MaxUint64)>>(64-bits)))
		return
	}
	target.SetUint(value)
}

func (d *decoder) notInRange(n *yaml.Node, path string, s scalar, err error, bounds string) {
	if errors.Is(err, strconv.ErrRange) {
		d.problem(n, path, "must be %s, is %s", bounds, s.shown)
		return
	}
	d.problem(n, path, "want a whole number, got %s", s.shown)
}

func (d *decoder) decodeFloat(n *yaml.Node, target reflect.Value, path string) {
	s, ok := d.read(n, "a number", path)
	if !ok {
		return
	}
	value, err := strconv.ParseFloat(s.text, target.Type().Bits())
	if err != nil || s.tag != "" && s.tag != "!!float" && s.tag != "!!int" ||
		math.IsNaN(value) || math.IsInf(value, 0) {
		d.problem(n, path, "want a finite number, got %s", s.shown)
		return
	}
	target.SetFloat(value)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kindOf calls a node by a word that people use.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return shorten(n.Value)
	default:
		return "an alias"
	}
}

// shorten quotes a value for a problem.
func shorten(text string) string {
	const longest = 40
	if len(text) > longest {
		return fmt.Sprintf("%q...", text[:longest])
	}
	return strconv.Quote(text)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// miscounted are the errors for which the YAML library counts lines from 0.
var miscounted = regexp.MustCompile(`^(did not find expected (<|node content|'-' indicator|key|',' or)|found (undefined|duplicate|incompatible) )`)

// syntaxProblem takes the line out of the YAML library's error, which does not name the first line, nor
// that of a byte which is no text.
func syntaxProblem(err error, text []byte) (line int, reason string) {
	reason = err.Error()
	if m := yamlLine.FindStringSubmatch(reason); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits or nothing
		reason = reason[len(m[0]):]
	}
	switch {
	case line > 0 && miscounted.MatchString(reason):
		line = min(line+1, 1+bytes.Count(bytes.TrimRight(text, " \t\r\n"), []byte("\n"))) // what is missing at the end is missing in the last line
	case line == 0:
		line = 1 + bytes.Count(text[:beginningOfText(text)], []byte("\n"))
	}
	return line, "not valid YAML: " + reason
}

// beginningOfText is the length of what stands before the first byte that is no text, or 0 when all is.
func beginningOfText(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85 {
			return at
		}
		at += size
	}
	return 0
}
