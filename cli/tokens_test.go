package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/auth"
)

func testTokens() auth.TokenConfig {
	return auth.TokenConfig{
		Keys:       []auth.TokenKey{{ID: "k1", Algorithm: auth.HS256, Secret: "0123456789abcdef0123456789abcdef"}},
		SigningKey: "k1", Lifetime: time.Hour,
	}
}

func TestTokensVerify(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	if err := WriteTokens(&out, testTokens(), TokenSpec{Users: 3, Prefix: "u", Life: 2 * time.Minute}, now); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 4 || lines[0] != "user,token" {
		t.Fatalf("wrote %q", lines)
	}
	verifier, err := auth.NewVerifier(testTokens())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"u000001", "u000002", "u000003"} {
		user, token, _ := strings.Cut(lines[i+1], ",")
		claims, err := verifier.Verify(token, now.Add(time.Minute))
		if err != nil || user != want || claims.User != want || len(claims.Roles) != 0 {
			t.Errorf("line %d: user %q, claims %+v, %v", i+2, user, claims, err)
		}
		if _, err := verifier.Verify(token, now.Add(3*time.Minute)); err == nil {
			t.Errorf("%s: valid beyond its life", user)
		}
	}
}

func TestTokenFileIsPrivateAndComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.csv")
	if err := WriteTokenFile(path, testTokens(), TokenSpec{Users: 2, Prefix: "u"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
	if err := WriteTokenFile(path, testTokens(), TokenSpec{Users: 0}, time.Now()); err == nil {
		t.Error("no users: no error")
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("a failed run left %v", left)
	}
}

func TestTokenSpecIsChecked(t *testing.T) {
	noKey := testTokens()
	noKey.SigningKey = ""
	for name, c := range map[string]struct {
		tokens auth.TokenConfig
		spec   TokenSpec
		want   string
	}{
		"no users":       {testTokens(), TokenSpec{Prefix: "u"}, "users"},
		"too many":       {testTokens(), TokenSpec{Users: MaxTokens + 1, Prefix: "u"}, "users"},
		"prefix":         {testTokens(), TokenSpec{Users: 1, Prefix: "a b"}, "prefix"},
		"long prefix":    {testTokens(), TokenSpec{Users: 1, Prefix: strings.Repeat("u", 60)}, "prefix"},
		"no signing key": {noKey, TokenSpec{Users: 1, Prefix: "u"}, "signing_key"},
		"life":           {testTokens(), TokenSpec{Users: 1, Prefix: "u", Life: time.Millisecond}, "lifetime"},
	} {
		err := WriteTokens(&bytes.Buffer{}, c.tokens, c.spec, time.Now())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that names %s", name, err, c.want)
		}
	}
}
