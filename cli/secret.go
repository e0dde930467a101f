package cli

import (
	"crypto/rand"
	_ "embed" // the environment file's text
	"fmt"
	"io"
	"text/template"

	"headgate.example/lib/config"
)

//go:embed example.env.tmpl
var environmentText string

// sampleSecret stands in deploy/config/example.env. Production refuses it.
const sampleSecret = "replace-me-by-headgate-secret-of-your-own"

// NewSecret makes a secret of 260 random bits, in capital letters and digits: it needs no quoting in shells,
// YAML, URLs and DSNs.
func NewSecret() string {
	for {
		text := rand.Text() + rand.Text()
		var p config.Problems
		config.CheckSecrets(&p, struct{ Secret config.Secret }{config.Secret(text)})
		if p.Err() == nil { // by chance it may hold a word of samples
			return text
		}
	}
}

// WriteEnvironment writes an environment file with every name that the samples in deploy/config use, and
// new secrets.
func WriteEnvironment(w io.Writer) error { return writeEnvironment(w, false, NewSecret) }

func writeEnvironment(w io.Writer, sample bool, secret func() string) error {
	text := template.Must(template.New("env").Funcs(template.FuncMap{"secret": secret}).Parse(environmentText))
	if err := text.Execute(w, map[string]bool{"Sample": sample}); err != nil {
		return fmt.Errorf("writing the environment file: %w", err)
	}
	return nil
}
