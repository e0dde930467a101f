package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The sample environment file has every name that the command writes, and no value that a program takes.
func TestExampleEnvironmentIsRefused(t *testing.T) {
	var want strings.Builder
	if err := writeEnvironment(&want, true, func() string { return sampleSecret }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(samples, "example.env"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("deploy/config/example.env is not what cli/example.env.tmpl makes of it; want\n%s", want.String())
	}
	setEnv(t, string(got))
	for sample, fields := range map[string][]string{
		"interceptor":          {"tokens.keys[0].secret", "ticket_keys[0].secret", "hop_keys[0].secret", "counter.client_password"},
		"counter":              {"client_password", "operator_password"},
		"counter-three-voters": {"raft_secret"},
		"backend":              {"tokens.keys[0].secret", "payment.sandbox.keys[0].secret", "counter.operator_password", "queue.url", "database.dsn"},
		"consumer":             {"ticket_keys[0].secret", "queue.url", "database.dsn"},
		"headgate":             {"backend.queue.url", "interceptor.hop_keys[0].secret"},
		"edges/interceptor-1":  {"user_hash_secret"},
	} {
		_, _, err := CheckConfig(filepath.Join(samples, filepath.FromSlash(sample)+".yaml"), "")
		for _, field := range fields {
			if err == nil || !strings.Contains(err.Error(), " "+field+": ") || !strings.Contains(err.Error(), "`headgate secret` makes one") {
				t.Errorf("%s: no problem with %s in: %v", sample, field, err)
			}
		}
	}
}

// What the command writes is taken: TestSamplesAreRight checks every sample with it. No two secrets are equal,
// and the addresses have the passwords that the users are to be made with.
func TestEnvironmentHasSecretsOfItsOwn(t *testing.T) {
	var text strings.Builder
	if err := WriteEnvironment(&text); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	seen := map[string]string{}
	for line := range strings.Lines(text.String()) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if strings.HasPrefix(line, "#") || !found {
			continue
		}
		value = strings.Trim(value, "'")
		if other := seen[value]; other != "" {
			t.Errorf("%s and %s are equal", name, other)
		}
		values[name], seen[value] = value, name
	}
	for address, password := range map[string]string{"HEADGATE_AMQP_URL": "HEADGATE_AMQP_PASSWORD", "HEADGATE_MYSQL_DSN": "HEADGATE_MYSQL_PASSWORD"} {
		if !strings.Contains(values[address], ":"+values[password]+"@") {
			t.Errorf("%s does not have %s", address, password)
		}
	}
	if strings.Contains(text.String(), sampleSecret) {
		t.Error("a sample's value was written")
	}
}
