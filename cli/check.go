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
	"headgate.example/lib/service"
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
	var section *service.Config
	switch kind {
	case "interceptor":
		c := interceptor.DefaultConfig()
		into, section = &c, &c.Service
	case "counter":
		c := counter.DefaultConfig()
		into, section = &c, &c.Service
	case "backend":
		c := backend.DefaultConfig()
		into, section = &c, &c.Service
	case "consumer":
		c := consumer.DefaultConfig()
		into, section = &c, &c.Service
	case "headgate":
		c := DefaultConfig()
		into, section = &c, &c.Service
	default:
		return "", "", fmt.Errorf("kind: want one of %s, got %q", strings.Join(Kinds(), ", "), kind)
	}
	text, err := config.ReadFile(path)
	if err != nil {
		return kind, "", err
	}
	// As the program itself will read it: see service.Main.
	if err := config.ParseChecked(path, text, into, func(p *config.Problems) { section.CheckSecrets(p, into) }); err != nil {
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
