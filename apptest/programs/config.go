package programs

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"headgate.example/apptest/ports"
)

// Config is a config file to be changed: what a test needs otherwise than the sample has it.
type Config struct {
	t    testing.TB
	root map[string]any
}

// ReadConfig reads a config file. Anchors are resolved; `${NAME}` stays as it is.
func ReadConfig(t testing.TB, path string) *Config {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{t: t}
	if err := yaml.Unmarshal(text, &c.root); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for key := range c.root {
		if strings.HasPrefix(key, "x-") {
			delete(c.root, key)
		}
	}
	return c
}

// Set puts a value at a dotted path, making the sections on the way.
func (c *Config) Set(path string, value any) {
	section := c.root
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		next, ok := section[name].(map[string]any)
		if !ok {
			next = make(map[string]any)
			section[name] = next
		}
		section = next
	}
	section[names[len(names)-1]] = value
}

// Text gives the text at a dotted path, and fails the test when there is none.
func (c *Config) Text(path string) string {
	c.t.Helper()
	var value any = c.root
	for name := range strings.SplitSeq(path, ".") {
		section, _ := value.(map[string]any)
		value = section[name]
	}
	text, ok := value.(string)
	if !ok {
		c.t.Fatalf("the config has no text at %s", path)
	}
	return text
}

// Replace replaces text in every scalar of the file, such as an address that several sections name.
func (c *Config) Replace(old, new string) { c.root = replaceIn(c.root, old, new).(map[string]any) }

func replaceIn(value any, old, new string) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, old, new)
	case []any:
		for i := range v {
			v[i] = replaceIn(v[i], old, new)
		}
	case map[string]any:
		for key := range v {
			v[key] = replaceIn(v[key], old, new)
		}
	}
	return value
}

// Write writes the file, readable by its owner only.
func (c *Config) Write(path string) {
	c.t.Helper()
	text, err := yaml.Marshal(c.root)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// FreePorts gives free loopback addresses, which are the test's until it ends: a program that was killed finds its own
// free again.
func FreePorts(t testing.TB, count int) []string {
	t.Helper()
	addresses, release, err := ports.Reserve(count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addresses
}
