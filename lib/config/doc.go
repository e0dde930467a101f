// Package config reads a program's YAML configuration strictly and tells everything that is wrong
// with it at once, each problem with its file, line and field:
//
//	headgate.yaml:12: interceptor.listne: unknown key; did you mean "listen"?
//
// A program's config is a struct with `yaml:"snake_case"` tags. Load decodes the file over the
// defaults that are already in the struct, then calls its Validate, which calls those of its sections:
//
//	func (c *Config) Validate(p *config.Problems) {
//		c.Service.Validate(p.In("service"))
//		if c.Timeout <= 0 {
//			p.Addf("timeout", "must be positive, is %s", c.Timeout)
//		}
//	}
//
// Rules of the format: keys are known and unique (`x-...` keys at the top are free for anchors); lists
// and maps replace a default as a whole; durations have a unit ("30s"); a whole scalar `${NAME}` is
// taken from the environment, and must be set there (within a longer text it stands for itself). Merge
// keys (`<<: *anchor`) are understood. `version: 1` at the top may say which format the file has.
// A file has at most MaxBytes bytes, MaxDepth levels and MaxNodes values, aliases expanded.
//
// A config that is to replace one that runs is read by ParseChecked; Changed tells where two differ.
// Values of type Secret are masked wherever they are printed; CheckSecrets finds those that can be guessed.
// The package must not know any program's fields.
package config
