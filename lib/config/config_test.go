package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type shard struct {
	Name      string   `yaml:"name"`
	Addresses []string `yaml:"addresses"`
}

type section struct {
	Listen  string        `yaml:"listen"`
	Timeout time.Duration `yaml:"timeout"`
	Drain   time.Duration `yaml:"drain"`
}

func (s *section) Validate(p *Problems) {
	if s.Timeout >= s.Drain {
		p.Addf("timeout", "must be shorter than drain (%s), is %s", s.Drain, s.Timeout)
	}
	if s.Listen == "" {
		p.Addf("listen", "is missing")
	}
}

type word string

func (w *word) UnmarshalText(text []byte) error {
	if string(text) != "on" && string(text) != "off" {
		return fmt.Errorf("must be on or off, is %q", text)
	}
	*w = word(text)
	return nil
}

type embedded struct {
	Depth int `yaml:"depth"`
}

type sample struct {
	Edge     section          `yaml:"edge"`
	Password Secret           `yaml:"password"`
	Count    int              `yaml:"count"`
	Small    int8             `yaml:"small"`
	Port     uint16           `yaml:"port"`
	Load     float64          `yaml:"load"`
	On       bool             `yaml:"on"`
	Mode     word             `yaml:"mode"`
	Shards   []shard          `yaml:"shards"`
	Limits   map[string]int64 `yaml:"limits"`
	Maybe    *section         `yaml:"maybe"`
	Embedded embedded         `yaml:",inline"`
	Skipped  string           `yaml:"-"`
}

func (s *sample) Validate(p *Problems) {
	s.Edge.Validate(p.In("edge"))
	for i, sh := range s.Shards {
		if len(sh.Addresses) == 0 {
			p.In(fmt.Sprintf("shards[%d]", i)).Addf("addresses", "must name at least one")
		}
	}
	if s.Count < 0 {
		p.Addf("count", "must not be negative, is %d", s.Count)
	}
}

func sampleDefault() sample {
	return sample{
		Edge:   section{Listen: "127.0.0.1:8080", Timeout: time.Second, Drain: 20 * time.Second},
		Load:   1.25,
		Limits: map[string]int64{"old": 1},
		Shards: []shard{{Name: "s0", Addresses: []string{"a"}}},
	}
}

func environment(name string) (string, bool) {
	v, ok := map[string]string{"PW": "s3cret-value", "N": "12", "EMPTY": "", "D": "3s"}[name]
	return v, ok
}

func TestParseReadsEverything(t *testing.T) {
	c := sampleDefault()
	err := parse("c.yaml", []byte(`
x-defaults: &d {timeout: 5s, listen: "[::1]:1"}
edge:
  <<: *d
  listen: ":9"
password: ${PW}
count: ${N}
small: -128
port: 0xFFFF
load: 2
"on": true
mode: off
shards:
  - name: s1
    addresses: [a, "b"]
  - {name: 2, addresses: [c]}
limits: {new: 1_000}
maybe: {timeout: "${D}", drain: 1m}
depth: 3
`), &c, environment)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleDefault()
	want.Edge.Listen, want.Edge.Timeout = ":9", 5*time.Second
	want.Password, want.Count, want.Small, want.Port, want.Load, want.On, want.Mode = "s3cret-value", 12, -128, 65535, 2, true, "off"
	want.Shards = []shard{{"s1", []string{"a", "b"}}, {"2", []string{"c"}}}
	want.Limits = map[string]int64{"new": 1000}
	want.Embedded.Depth = 3
	want.Maybe = nil
	if c.Maybe == nil || c.Maybe.Timeout != 3*time.Second || c.Maybe.Drain != time.Minute {
		t.Errorf("maybe is %+v", c.Maybe)
	}
	c.Maybe = nil
	if got, want := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("read  %s\nwanted %s", got, want)
	}
	if c.Password.Reveal() != "s3cret-value" {
		t.Error("the password was not taken from the environment")
	}
}

func TestNothingKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n# only a comment\n", "---\n", "edge:\n", "{}", "edge: {}\n"} {
		c := sampleDefault()
		if err := parse("c.yaml", []byte(text), &c, environment); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got, want := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", sampleDefault()); got != want {
			t.Errorf("%q: read %s", text, got)
		}
	}
}

func TestProblemsNameLineAndField(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "cuont: 1", `c.yaml:1: cuont: unknown key; did you mean "count"?`},
		{"unknown key, no guess", "edge:\n  zzzzz: 1", `c.yaml:2: edge.zzzzz: unknown key; known are drain, listen, timeout`},
		{"unknown key in capitals", "\nCount: 1", `c.yaml:2: Count: unknown key; did you mean "count"?`},
		{"unknown key with hyphen", "edge: {time-out: 1s}", `c.yaml:1: edge.time-out: unknown key; did you mean "timeout"?`},
		{"unknown key in a list", "shards:\n- name: a\n  adresses: [b]\n  addresses: [b]", `c.yaml:3: shards[0].adresses: unknown key; did you mean "addresses"?`},
		{"skipped field", "skipped: 1", `c.yaml:1: skipped: unknown key`},
		{"x- below the top", "edge:\n  x-y: 1", `c.yaml:2: edge.x-y: unknown key; known are drain, listen, timeout`},
		{"duplicate key", "count: 1\non: true\ncount: 2", `c.yaml:3: count: duplicate key: it is already set in line 1`},
		{"duplicate in flow", "edge: {drain: 30s, drain: 31s}", `c.yaml:1: edge.drain: duplicate key: it is already set in line 1`},
		{"text for a number", "count: many", `c.yaml:1: count: want a whole number, got "many"`},
		{"quoted number", `count: "1"`, `c.yaml:1: count: want a whole number, got "1"`},
		{"fraction for a whole number", "count: 1.5", `c.yaml:1: count: want a whole number, got "1.5"`},
		{"octal", "count: 010", `c.yaml:1: count: write the number without a leading zero, or as 0o... if octal is meant`},
		{"too large", "small: 128", `c.yaml:1: small: must be -128 to 127, is "128"`},
		{"far too large", "count: 99999999999999999999", `c.yaml:1: count: must be -9223372036854775808 to 9223372036854775807, is "99999999999999999999"`},
		{"negative unsigned", "port: -1", `c.yaml:1: port: must be 0 to 65535, is "-1"`},
		{"list for a number", "count: [1]", `c.yaml:1: count: want a whole number, got a list`},
		{"section for text", "password: {a: b}", `c.yaml:1: password: want text, got a section of keys`},
		{"bool for text", "edge:\n  listen: true", `c.yaml:2: edge.listen: want text, got "true": put it in quotes`},
		{"text for bool", "\"on\": yep", `c.yaml:1: on: want true or false, got "yep"`},
		{"not a number", "load: .nan", `c.yaml:1: load: want a finite number, got ".nan"`},
		{"infinite", "load: .inf", `c.yaml:1: load: want a finite number, got ".inf"`},
		{"bare duration", "edge:\n  timeout: 5", `c.yaml:2: edge.timeout: want a duration with a unit such as 500ms, 30s or 24h, got "5"`},
		{"bad duration", "edge:\n  timeout: 5 s", `c.yaml:2: edge.timeout: want a duration with a unit such as 500ms, 30s or 24h, got "5 s"`},
		{"text for a section", "edge: x", `c.yaml:1: edge: want a section of keys, got "x"`},
		{"section for a list", "shards: {a: b}", `c.yaml:1: shards: want a list, got a section of keys`},
		{"list for a map", "limits: [1]", `c.yaml:1: limits: want a section of keys, got a list`},
		{"wrong in a map", "limits:\n  a: 1\n  b: x", `c.yaml:3: limits.b: want a whole number, got "x"`},
		{"no value", "count:", `c.yaml:1: count: has no value: write a whole number, or remove the key to keep the default`},
		{"own type", "mode: maybe", `c.yaml:1: mode: must be on or off, is "maybe"`},
		{"missing variable", "password: ${NOT_SET}", `c.yaml:1: password: the environment variable NOT_SET is not set`},
		{"variable of a wrong type", "count: ${PW}", `c.yaml:1: count: want a whole number, got the value of the environment variable PW`},
		{"variable of a wrong own type", "mode: ${PW}", `c.yaml:1: mode: the value of the environment variable PW is not valid here`},
		{"the whole is a list", "- 1", `c.yaml:1: want a section of keys, got a list`},
		{"the whole is text", "hello", `c.yaml:1: want a section of keys, got "hello"`},
		{"second document", "count: 1\n---\ncount: 2", `c.yaml:2: a second document begins here: a config is one YAML document`},
		{"key with a line break", `"a\nb": 1`, `c.yaml:1: a\nb: unknown key`},
		{"key is a list", "? [a]\n: 1", `c.yaml:1: keys must be plain words, got a list`},
		{"merging text", "edge:\n  <<: x", `c.yaml:2: edge: << wants a section or a list of sections, got "x"`},
		{"unknown tag", "count: !point 3", `c.yaml:1: count: the tag !point is not supported`},
		{"relation", "edge:\n  drain: 10s\n  timeout: 30s", `c.yaml:3: edge.timeout: must be shorter than drain (10s), is 30s`},
		{"relation placed at its section", "count: 1\nedge:\n  drain: 1ms", `c.yaml:2: edge.timeout: must be shorter than drain (1ms), is 1s`},
		{"in a list, placed at its item", "shards:\n- name: a\n  addresses: [x]\n- name: b", `c.yaml:4: shards[1].addresses: must name at least one`},
		{"not there at all", "\n\ncount: -3", `c.yaml:3: count: must not be negative, is -3`},
	} {
		into := sampleDefault()
		err := parse("c.yaml", []byte(c.text), &into, environment)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "s3cret-value") {
			t.Errorf("%s: the error tells a secret: %v", c.name, err)
		}
		if n := strings.Count(err.Error(), "\n"); n > 0 && c.name != "far too large" {
			t.Errorf("%s: %d more lines than expected:\n%v", c.name, n, err)
		}
	}
}

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	for text, line := range map[string]string{
		"count: 1\n  on: true\n": "2", "a: [1": "1", "\tcount: 1": "1", "edge:\n  - a\n  b: c": "2", "count: *nowhere": "1",
		"count: 1\nedge: {timeout: 5s\nsmall: 1\n": "2", "count: 1\nsmall: 2\n mode: x\n": "3",
		"%x\n": "1", "a: \x00": "1", "count: 1\nsmall: 2\nmode: \x07": "3", "count: 1\n\xff\xfe": "2",
	} {
		c := sampleDefault()
		err := parse("c.yaml", []byte(text), &c, environment)
		if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:"+line+": ") || !strings.Contains(err.Error(), "not valid YAML: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAllProblemsAtOnceInOrder(t *testing.T) {
	c := sampleDefault()
	err := parse("c.yaml", []byte("count: -1\nsmall: 1000\nedge:\n  listne: x\n  timeout: 40s\n"), &c, environment)
	want := `c.yaml:1: count: must not be negative, is -1
c.yaml:2: small: must be -128 to 127, is "1000"
c.yaml:4: edge.listne: unknown key; did you mean "listen"?
c.yaml:5: edge.timeout: must be shorter than drain (20s), is 40s`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var list *Error
	if !errors.As(err, &list) || len(list.Problems) != 4 || list.Problems[2] != (Problem{"c.yaml", 4, "edge.listne", `unknown key; did you mean "listen"?`}) {
		t.Errorf("the problems are %+v", list)
	}
}

// A field that could not be read holds its default: what Validate says of it would mislead.
func TestUnreadFieldsAreNotValidated(t *testing.T) {
	c := sampleDefault()
	c.Count = -5
	err := parse("c.yaml", []byte("count: x\n"), &c, environment)
	if err == nil || strings.Contains(err.Error(), "negative") {
		t.Errorf("got %v", err)
	}
}

func TestTooManyProblemsAreCounted(t *testing.T) {
	var text strings.Builder
	for i := range 3 * MaxProblems {
		fmt.Fprintf(&text, "unknown%d: 1\n", i)
	}
	c := sampleDefault()
	err := parse("c.yaml", []byte(text.String()), &c, environment)
	var list *Error
	if !errors.As(err, &list) || len(list.Problems) != MaxProblems || list.Omitted != 2*MaxProblems {
		t.Fatalf("got %v", err)
	}
	if !strings.HasSuffix(err.Error(), "and 200 more problems") {
		t.Errorf("the error ends %q", err.Error()[len(err.Error())-40:])
	}
}

func TestBounds(t *testing.T) {
	bomb := "x-a: &a [[], [], [], [], [], [], [], [], []]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("x-%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	merges := "x-a: &a {z: 1}\n"
	for c := 'b'; c < 'k'; c++ {
		merges += fmt.Sprintf("x-%c: &%c {<<: [%s]}\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for _, c := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", MaxBytes+1), "at most 1048576 bytes"},
		{"values", "list: [" + strings.Repeat("[],", MaxNodes) + "]", "more than 50000 values"},
		{"alias bomb", bomb + "list: *j\n", "more than 50000 values"},
		{"merge bomb", merges + "node: {<<: *j}\n", "more than 50000 values"},
		{"depth", "node: " + strings.Repeat("{node: ", 40) + "{}" + strings.Repeat("}", 40), "deeper than 32 levels"},
		{"a node within itself", "node: &a {node: *a}", "deeper than 32 levels"},
		{"a merge of itself", "node: &a {<<: *a}", "deeper than 32 levels"},
	} {
		var into tree
		err := parse("c.yaml", []byte(c.text), &into, environment)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %.300v", c.name, err)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: a bound that is met should be one line:\n%.500v", c.name, err)
		}
	}
	// What nobody reads costs nothing, however it is written.
	if err := parse("c.yaml", []byte(bomb), &tree{}, environment); err != nil {
		t.Errorf("an unused bomb: %v", err)
	}
}

// tree nests as deep as a file wants.
type tree struct {
	Node *tree              `yaml:"node"`
	List [][][][][][][]list `yaml:"list"`
}

type list [][][][]string

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("count: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := sampleDefault()
	if err := Load(path, &c); err != nil || c.Count != 7 {
		t.Errorf("count %d, %v", c.Count, err)
	}
	t.Setenv("HEADGATE_CONFIG_TEST", "9")
	if err := Parse("x", []byte("count: ${HEADGATE_CONFIG_TEST}"), &c); err != nil || c.Count != 9 {
		t.Errorf("count %d, %v", c.Count, err)
	}
	if err := Load(path+".not", &c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := Load(t.TempDir(), &c); err == nil {
		t.Error("a folder was read")
	}
	if err := os.WriteFile(path, []byte("small: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(path, &c); err == nil || !strings.HasPrefix(err.Error(), path+":1: small: ") {
		t.Errorf("got %v", err)
	}
}

func TestCheckWithoutFile(t *testing.T) {
	c := sampleDefault()
	if err := Check(&c); err != nil {
		t.Error(err)
	}
	c.Edge.Listen = ""
	if err := Check(&c); err == nil || err.Error() != "edge.listen: is missing" {
		t.Errorf("got %v", err)
	}
}

func TestProblemsAlone(t *testing.T) {
	var p Problems
	if p.Err() != nil {
		t.Error("an empty collector has an error")
	}
	in := p.In("a").In("b[2]")
	in.Addf("c", "is %d", 1)
	p.In("a").Addf("", "is odd")
	if err := p.Err(); err == nil || err.Error() != "a.b[2].c: is 1\na: is odd" {
		t.Errorf("got %v", err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"listen", "listen", 0}, {"listne", "listen", 1}, {"lsten", "listen", 1}, {"time_out", "timeout", 1}, {"abc", "xyz", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
