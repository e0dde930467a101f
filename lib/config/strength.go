package config

import (
	"fmt"
	"net"
	"reflect"
	"strings"
)

// What a secret must be like outside of development.
const (
	// MinSecretBytes is the least length of a secret of Headgate's own. Whoever buys holds a signature made
	// with one, and can try guesses at home, as many as there is money for: an HMAC-SHA256 key is as long as
	// its output, 32 bytes, and 32 letters or digits at random are far beyond guessing even in hexadecimal (128 bits).
	MinSecretBytes = 32
	// MinPasswordBytes is the least length of the password in an address, such as the broker's: it can
	// only be tried at the server, which somebody else has set up.
	MinPasswordBytes = 16
	// minLetters is how many different bytes a secret has at least. 32 hexadecimal digits at random have 14 on
	// average, and fewer than 8 once in a hundred thousand times.
	minLetters = 8
)

// MakeSecret is what a reason says about how to get a better one.
const MakeSecret = "`headgate secret` makes one"

// CheckSecrets reports every Secret in a config, a struct or a pointer to one, that is too short, repeats
// itself, or holds words of samples. Empty ones are left to Validate, which knows whether they are needed. A
// field with the tag `secret:"address"` holds an address, in which the password is looked at: it must be
// there, unless the address is on this machine, whose users need no password to read the config's.
// CheckSecrets cannot tell whether a text was drawn at random.
func CheckSecrets(p *Problems, cfg any) {
	eachSecret("", "", reflect.ValueOf(cfg), func(path, kind string, s Secret) {
		reason := ""
		if kind == "address" {
			reason = weakAddress(s.Reveal())
		} else {
			reason = weakSecret(s.Reveal(), MinSecretBytes)
		}
		if reason != "" {
			p.Addf(path, "%s: %s", reason, MakeSecret)
		}
	})
}

// eachSecret visits the secrets that are set.
func eachSecret(path, kind string, v reflect.Value, visit func(path, kind string, s Secret)) {
	if v.IsValid() && v.Type() == reflect.TypeFor[Secret]() {
		if s := Secret(v.String()); s != "" {
			visit(path, kind, s)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachSecret(path, kind, v.Elem(), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name, inline, skip := fieldName(v.Type().Field(i)); !skip {
				at := join(path, name)
				if inline {
					at = path
				}
				eachSecret(at, v.Type().Field(i).Tag.Get("secret"), v.Field(i), visit)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			eachSecret(fmt.Sprintf("%s[%d]", path, i), kind, v.Index(i), visit)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			eachSecret(join(path, entries.Key().String()), kind, entries.Value(), visit)
		}
	}
}

// sampleWords are in the secrets of samples, tutorials and hurried people. By chance one of them is in a
// random secret of 43 letters and digits less than once in a million times.
func sampleWords() []string {
	return []string{"replace", "change-me", "change_me", "changeme", "password", "passwort", "secret", "example", "sample", "default", "headgate",
		"letmein", "qwerty", "abcdef", "0123456", "1234567"}
}

// weakSecret says what is wrong with a secret, "" when nothing is. It does not show it.
func weakSecret(text string, least int) string {
	if text == "" {
		return "is empty"
	}
	plain := strings.ToLower(text)
	for _, word := range sampleWords() {
		if strings.Contains(plain, word) {
			return fmt.Sprintf("holds %q, as samples that everybody can read do", word)
		}
	}
	if len(text) < least {
		return fmt.Sprintf("has %d bytes and needs at least %d", len(text), least)
	}
	if n := period(text); n < least && n <= len(text)/2 {
		return fmt.Sprintf("repeats its first %d bytes and needs at least %d that do not", n, least)
	}
	if n := letters(text); n < minLetters {
		return fmt.Sprintf("is made of %d different bytes and needs at least %d", n, minLetters)
	}
	return ""
}

// period is the length of the shortest text that text is a repetition of, its last part cut. Above half of the
// text it says nothing: of 32 hexadecimal digits at random, one in 16 ends as it begins.
func period(text string) int {
	for n := 1; n < len(text); n++ {
		if text[n:] == text[:len(text)-n] {
			return n
		}
	}
	return len(text)
}

func letters(text string) (n int) {
	var seen [256]bool
	for i := range len(text) {
		if !seen[text[i]] {
			seen[text[i]] = true
			n++
		}
	}
	return n
}

// weakAddress looks at the password of user:password@host, of a URL or of user:password@tcp(host:port)/name.
func weakAddress(text string) string {
	if _, rest, found := strings.Cut(text, "://"); found {
		text = rest
		if end := strings.IndexAny(text, "/?#"); end >= 0 {
			text = text[:end]
		}
	}
	at := strings.LastIndexByte(text, '@') // -1: no user
	_, password, _ := strings.Cut(text[:max(at, 0)], ":")
	if onThisMachine(text[at+1:]) {
		return ""
	}
	if password == "guest" {
		return "holds the password that the broker came with"
	}
	if reason := weakSecret(password, MinPasswordBytes); reason != "" {
		return "its password " + reason
	}
	return ""
}

// onThisMachine reads host:port,host:port, tcp(host:port)/name, unix(path)/name and /name.
func onThisMachine(where string) bool {
	network, rest, found := strings.Cut(where, "(")
	if found {
		if network == "unix" {
			return true
		}
		where, _, _ = strings.Cut(rest, ")")
	}
	where, _, _ = strings.Cut(where, "/")
	for address := range strings.SplitSeq(where, ",") {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		ip := net.ParseIP(host)
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) && address != "" {
			return false
		}
	}
	return true
}
