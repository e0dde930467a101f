package config

import (
	"errors"
	"strings"
	"testing"
)

// Whatever a file holds, reading it ends, does not panic, and gives nil or problems of one line each
// that name the file and tell no secret.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "count: 1", "edge: {timeout: 5s}", "shards: [{name: a, addresses: [b]}]", "limits: {a: 1}",
		"x-a: &a {timeout: 1s}\nedge: {<<: *a}", "node: &a {node: *a}", "maybe: ~", "password: ${PW}", "count: ${PW}",
		"? {a: b}\n: c", "a: [1", "\t", "count: !!binary aGk=", "count: 0x", "--- a\n--- b", "<<: *x", "<<: [1, {a: b}]",
		"%YAML 1.1\n---\ncount: 1", "on: true", "count: 1\r\nsmall: 2\r", "\xff\xfe", "&a *a", "edge: {? : 1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := sampleDefault()
		err := parse("c.yaml", text, &c, environment)
		if err == nil {
			return
		}
		var list *Error
		if !errors.As(err, &list) || len(list.Problems) == 0 {
			t.Fatalf("not a list of problems: %v", err)
		}
		for _, p := range list.Problems {
			if p.File != "c.yaml" || p.Line < 1 || p.Reason == "" {
				t.Fatalf("an incomplete problem: %+v", p)
			}
			if strings.Contains(p.Reason, "s3cret-value") {
				t.Fatalf("a problem tells a secret: %s", p)
			}
			if strings.ContainsAny(p.String(), "\n\r") {
				t.Fatalf("a problem of several lines: %q", p)
			}
		}
	})
}
