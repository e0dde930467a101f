package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder walks a YAML tree along a Go type and collects what does not fit.
type decoder struct {
	found  *collected
	lookup func(string) (string, bool)
	nodes  int
	full   bool // a bound was met; reported once
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoder) decodeRoot(root *yaml.Node, into any) {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: want a pointer to a struct, got %T", into))
	}
	d.decode(root, target.Elem(), "", 0)
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	d.found.add(n.Line, path, fmt.Sprintf(format, args...))
}

// enter counts a value and reports whether it may be looked at.
func (d *decoder) enter(n *yaml.Node, path string, depth int) bool {
	d.nodes++
	switch {
	case d.full:
		return false
	case depth > MaxDepth:
		d.full = true
		d.problem(n, path, "the file nests deeper than %d levels", MaxDepth)
		return false
	case d.nodes > MaxNodes:
		d.full = true
		d.problem(n, path, "the file holds more than %d values, aliases expanded", MaxNodes)
		return false
	}
	return true
}

// decode puts a node's value into target. What cannot be read leaves target as it is.
func (d *decoder) decode(n *yaml.Node, target reflect.Value, path string, depth int) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || !d.enter(n, path, depth) {
		return
	}
	if target.Kind() == reflect.Pointer {
		d.decodePointer(n, target, path, depth)
		return
	}
	if n.Kind == yaml.ScalarNode && !isNull(n) && target.Addr().Type().Implements(textType) {
		d.decodeText(n, target, path)
		return
	}
	switch target.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, target, path, depth)
	case reflect.Slice:
		d.decodeSlice(n, target, path, depth)
	case reflect.Map:
		d.decodeMap(n, target, path, depth)
	default:
		d.decodeScalar(n, target, path)
	}
}

func (d *decoder) decodePointer(n *yaml.Node, target reflect.Value, path string, depth int) {
	if isNull(n) {
		target.SetZero()
		return
	}
	value := reflect.New(target.Type().Elem())
	if !target.IsNil() {
		value.Elem().Set(target.Elem())
	}
	d.decode(n, value.Elem(), path, depth)
	target.Set(value)
}

func (d *decoder) decodeStruct(n *yaml.Node, target reflect.Value, path string, depth int) {
	if isNull(n) { // an empty section keeps its defaults
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "want a section of keys, got %s", kindOf(n))
		return
	}
	fields := fieldsOf(target)
	for _, pair := range d.pairs(n, path, depth) {
		name := pair.key.Value
		if d.full {
			return
		}
		if depth == 0 && strings.HasPrefix(name, "x-") {
			continue
		}
		at := join(path, name)
		field, ok := fields[name]
		if !ok && depth == 0 && name == versionKey {
			d.checkVersion(pair.value)
			continue
		}
		if !ok {
			d.problem(pair.key, at, unknownKey+"%s", suggestion(name, fields))
			continue
		}
		if _, seen := d.found.lines[at]; !seen {
			d.found.lines[at] = pair.key.Line
		}
		d.decode(pair.value, field, at, depth+1)
	}
}

// versionKey says at the top of a file for which format it is written; it may be left out.
const versionKey = "version"

// checkVersion refuses a file of another format before its meaning is guessed.
func (d *decoder) checkVersion(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Value != strconv.Itoa(FormatVersion) {
		d.problem(n, versionKey, "this program reads config files of format version %d, and no other: take the file, or the program, of the other's version", FormatVersion)
	}
}

func (d *decoder) decodeSlice(n *yaml.Node, target reflect.Value, path string, depth int) {
	if isNull(n) {
		target.SetZero()
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "want a list, got %s", kindOf(n))
		return
	}
	list := reflect.MakeSlice(target.Type(), 0, 0)
	for i, item := range n.Content {
		if d.full {
			return
		}
		at := fmt.Sprintf("%s[%d]", path, i)
		d.found.lines[at] = item.Line
		value := reflect.New(target.Type().Elem()).Elem()
		d.decode(item, value, at, depth+1)
		list = reflect.Append(list, value)
	}
	target.Set(list)
}

func (d *decoder) decodeMap(n *yaml.Node, target reflect.Value, path string, depth int) {
	if target.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("config: %s: maps need string keys, not %s", path, target.Type().Key()))
	}
	if isNull(n) {
		target.SetZero()
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "want a section of keys, got %s", kindOf(n))
		return
	}
	entries := reflect.MakeMap(target.Type())
	for _, pair := range d.pairs(n, path, depth) {
		if d.full {
			return
		}
		at := join(path, pair.key.Value)
		d.found.lines[at] = pair.key.Line
		value := reflect.New(target.Type().Elem()).Elem()
		d.decode(pair.value, value, at, depth+1)
		entries.SetMapIndex(reflect.ValueOf(pair.key.Value).Convert(target.Type().Key()), value)
	}
	target.Set(entries)
}

// fieldsOf lists a struct's fields by their yaml names, those of inlined structs included.
func fieldsOf(target reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value, target.NumField())
	for i := range target.NumField() {
		switch name, inline, skip := fieldName(target.Type().Field(i)); {
		case skip:
		case inline:
			for inner, value := range fieldsOf(target.Field(i)) {
				fields[inner] = value
			}
		default:
			fields[name] = target.Field(i)
		}
	}
	return fields
}

// fieldName is the key of a field in a file; inline: its fields belong to the section around it; skip:
// no file sets it.
func fieldName(f reflect.StructField) (name string, inline, skip bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "" {
		name = strings.ToLower(f.Name) // as the encoder names it
	}
	return name, strings.Contains(options, "inline"), name == "-" || !f.IsExported()
}
