package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"headgate.example/backend"
	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/interceptor"
	"headgate.example/lib/config"
)

// Kinds lists the kinds of config files.
func Kinds() []string { return []string{"interceptor", "counter", "backend", "consumer", "headgate"} }

// CheckConfig reads and validates a config file of a kind, or of the kind that GuessKind finds when it
// is empty. It gives the kind and the effective config's hash.
func CheckConfig(path, kind string) (foundKind, hash string, err error) {
	if kind == "" {
		if kind, err = GuessKind(path); err != nil {
			return "", "", err
		}
	}
	var into config.Validator
	switch kind {
	case "interceptor":
		c := interceptor.DefaultConfig()
		into = &c
	case "counter":
		c := counter.DefaultConfig()
		into = &c
	case "backend":
		c := backend.DefaultConfig()
		into = &c
	case "consumer":
		c := consumer.DefaultConfig()
		into = &c
	case "headgate":
		c := DefaultConfig()
		into = &c
	default:
		return "", "", fmt.Errorf("kind: want one of %s, got %q", strings.Join(Kinds(), ", "), kind)
	}
	if err := config.Load(path, into); err != nil {
		return kind, "", err
	}
	return kind, config.Hash(into), nil
}

// GuessKind tells whose config a file is: by its name (backend.yaml, backend-2.yaml, edge.interceptor.yaml),
// else by the sections that only one program has.
func GuessKind(path string) (string, error) {
	words := strings.FieldsFunc(filepath.Base(path), func(r rune) bool { return r == '.' || r == '-' || r == '_' })
	for _, word := range words {
		for _, kind := range Kinds() {
			if word == kind {
				return kind, nil
			}
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the config: %w", err)
	}
	var top map[string]yaml.Node
	if err := yaml.Unmarshal(text, &top); err != nil {
		return "", fmt.Errorf("%s: is no YAML: %w", path, err)
	}
	for _, sign := range []struct{ section, kind string }{
		{"interceptor", "headgate"}, {"backend", "headgate"}, {"upstreams", "interceptor"}, {"routes", "interceptor"},
		{"data_dir", "counter"}, {"shard", "counter"}, {"accounts", "backend"}, {"listen", ""}, {"database", "consumer"},
	} {
		if _, found := top[sign.section]; found && sign.kind != "" {
			return sign.kind, nil
		}
		if _, found := top[sign.section]; found {
			break
		}
	}
	return "", fmt.Errorf("%s: cannot tell whose config this is: say --kind %s", path, strings.Join(Kinds(), ", --kind "))
}
