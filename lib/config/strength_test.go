package config

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// secretsOf holds a secret at every kind of place.
type secretsOf struct {
	Key  Secret `yaml:"key"`
	List []struct {
		S Secret `yaml:"s"`
	} `yaml:"list"`
	Map     map[string]Secret `yaml:"map"`
	Pointer *Secret           `yaml:"pointer"`
	Inner   struct {
		URL Secret `yaml:"url" secret:"address"`
	} `yaml:"inner"`
	Skipped Secret `yaml:"-"`
	Plain   string `yaml:"plain"`
}

func checkSecrets(cfg any) string {
	var p Problems
	CheckSecrets(&p, cfg)
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return ""
}

func TestSecretsThatCanBeGuessed(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"not set", "", ""},
		{"random, base32", "UZ5JHW2Q7KXB4TNM3PYA6RCVDG" + "EL7SFIO2WKQ4HXZT5BNMJ3PYUA", ""},
		{"hexadecimal, ends as it begins", "3f9c07b21e8d4a65f0c2b7913d5e8a63", ""},
		{"16 bytes", "kQ3vT9xR2mW7pZ4n", "key: has 16 bytes and needs at least 32"},
		{"31 bytes", "kQ3vT9xR2mW7pZ4nkQ3vT9xR2mW7pZ4", "key: has 31 bytes"},
		{"a sample", "replace-this-by-at-least-32-random-bytes", `key: holds "replace", as samples`},
		{"a word", "our-own-Secret-kQ3vT9xR2mW7pZ4n", `key: holds "secret"`},
		{"repeated", strings.Repeat("kQ3vT9xR", 8), "key: repeats its first 8 bytes"},
		{"repeated once", strings.Repeat("kQ3vT9xR2mW7pZ4nkQ3vT9xR", 2), "key: repeats its first 24 bytes"},
		{"repeated, cut", strings.Repeat("kQ3vT9xR", 8)[:45], "key: repeats its first 8 bytes"},
		{"few letters", "010011000111101010010110000111010001111000101", "key: is made of 2 different bytes"},
	} {
		got := checkSecrets(&secretsOf{Key: Secret(c.text)})
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || got != "" && !strings.Contains(got, MakeSecret) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if len(c.text) > 20 && strings.Contains(got, c.text) {
			t.Errorf("%s: the reason shows the secret: %s", c.name, got)
		}
	}
}

// What was drawn at random is strong, also when it is as short as it may be. The seed is fixed: of 100,000 such secrets one has
// too few different digits.
func TestRandomSecretsAreStrong(t *testing.T) {
	source := rand.NewChaCha8([32]byte{})
	random := make([]byte, MinSecretBytes/2)
	for range 10_000 {
		_, _ = source.Read(random) // never fails
		if text := hex.EncodeToString(random); weakSecret(text, MinSecretBytes) != "" {
			t.Errorf("%s %s", text, weakSecret(text, MinSecretBytes))
		}
	}
}

func TestEveryPlaceOfASecretIsLookedAt(t *testing.T) {
	weak := Secret("weak")
	cfg := secretsOf{Key: weak, List: []struct {
		S Secret `yaml:"s"`
	}{{weak}}, Map: map[string]Secret{"k": weak}, Pointer: &weak, Skipped: weak, Plain: "weak"}
	cfg.Inner.URL = "amqp://u:weak@mq-1:5672/v"
	got := checkSecrets(&cfg)
	for _, field := range []string{"key: ", "list[0].s: ", "map.k: ", "pointer: ", "inner.url: "} {
		if !strings.Contains("\n"+got, "\n"+field) {
			t.Errorf("no problem with %q in:\n%s", field, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 5 {
		t.Errorf("%d problems, want 5:\n%s", n, got)
	}
}

func TestPasswordsInAddresses(t *testing.T) {
	const good = "kQ3vT9xR2mW7pZ4n" // 16 bytes
	for address, want := range map[string]string{
		"amqp://headgate:" + good + "@mq-1:5672/headgate":           "",
		"amqp://headgate:" + good + "@mq-1:5672,mq-2:5672/headgate": "",
		"amqp://guest:guest@mq-1:5672/":                             "the broker came with",
		"amqp://guest:guest@127.0.0.1:5672/":                        "",
		"amqp://guest:guest@127.0.0.1:5672,mq-2:5672/":              "the broker came with",
		"amqp://guest:guest@[::1]:5672/":                            "",
		"amqp://mq-1:5672/":                                         "its password is empty",
		"amqp://headgate:replace-me@mq-1:5672/headgate":             `holds "replace"`,
		"headgate:" + good + "@tcp(mysql-1:3306)/headgate":          "",
		"headgate:with@and/" + good + "@tcp(mysql-1:3306)/headgate": "",
		"headgate:short@tcp(mysql-1:3306)/headgate":                 "has 5 bytes and needs at least 16",
		"root@tcp(mysql-1:3306)/headgate":                           "its password is empty",
		"root@tcp(127.0.0.1:3306)/headgate":                         "",
		"root@unix(/run/mysqld/mysqld.sock)/headgate":               "",
		"root@/headgate": "",
	} {
		cfg := secretsOf{}
		cfg.Inner.URL = Secret(address)
		if got := checkSecrets(cfg); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

func TestFormatVersion(t *testing.T) {
	var cfg struct {
		Count int `yaml:"count"`
	}
	if err := Parse("c.yaml", []byte("version: 1\ncount: 3\n"), &cfg); err != nil || cfg.Count != 3 {
		t.Errorf("this version: %v, %+v", err, cfg)
	}
	for _, text := range []string{"count: 1\nversion: 2\n", "count: 1\nversion: [1]\n", "count: 1\nversion:\n"} {
		err := Parse("c.yaml", []byte(text), &cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:2: version: this program reads config files of format version 1") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Parse("c.yaml", []byte("edge:\n  version: 1\n"), &struct {
		Edge struct{} `yaml:"edge"`
	}{}); err == nil {
		t.Error("below the top, version is a key like any other")
	}
}
