package service

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Production, which is the default, refuses a secret that can be guessed before anything is opened;
// development opens, and says loudly what it accepted.
func TestProductionRefusesWeakSecrets(t *testing.T) {
	opened := errors.New("opened")
	spec := specOf(func(context.Context, programConfig, *Runtime) (Program, error) { return nil, opened })
	spec.Default = func() programConfig { return programConfig{Service: DefaultConfig(), Listen: "a:1"} }
	const strong = "password: J4QW7X2ZT5MLR3BVN6KDPHYCGA4QW7X2\n"
	for _, c := range []struct {
		name, text string
		code       int
		want       string
	}{
		{"weak", "password: hidden-word\n", ExitUsage, "1: password: has 11 bytes and needs at least 32: `headgate secret` makes one"},
		{"weak, said to be production", "service: {mode: production}\npassword: hidden-word\n", ExitUsage, "2: password: has 11 bytes"},
		{"weak, another mode", "service: {mode: prod}\npassword: hidden-word\n", ExitUsage, "1: service.mode: must be production or development"},
		{"strong", strong, ExitFailed, "starting: opened"},
		{"none", "listen: b:2\n", ExitFailed, "starting: opened"},
		{"weak in development", "service: {mode: development}\npassword: hidden-word\n", ExitFailed, "level=WARN msg=\"DEVELOPMENT MODE: this secret can be guessed, and production refuses it; never let strangers reach this program\" program=test field=password"},
		{"strong in development", "service: {mode: development}\n" + strong, ExitFailed, "level=INFO msg=\"service.mode is development"},
	} {
		var stdout, stderr output
		code := run(spec, []string{"--config", write(t, c.text)}, &stdout, &stderr, nil)
		if code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit code %d, want %d\n%s", c.name, code, c.code, stderr.String())
		}
		if strings.Contains(stderr.String(), "hidden-word") {
			t.Errorf("%s: the secret shows", c.name)
		}
		if c.code == ExitUsage != !strings.Contains(stderr.String(), "opened") {
			t.Errorf("%s: opened or not, against its exit code\n%s", c.name, stderr.String())
		}
	}
}

// A running program does not take a weak secret either.
func TestReloadRefusesWeakSecrets(t *testing.T) {
	path := write(t, "password: hidden-word\n")
	rt := NewRuntime("test", nil)
	p := &reloadable{}
	spec := runs(nil)
	spec.Default = func() programConfig { return programConfig{Service: DefaultConfig(), Listen: "a:1"} }
	started := spec.Default()
	rt.ShowConfig(&started)
	r := newReloader(path, nil, spec, p, rt)
	r.look(true)
	if err := rt.configRefusal(); err == nil || !strings.Contains(err.Error(), "password: has 11 bytes") {
		t.Errorf("the refusal is %v", err)
	}
}

// Who reads of an unknown key is told which version says so.
func TestUnknownKeysNameTheVersion(t *testing.T) {
	var stdout, stderr output
	run(runs(nil), []string{"--config", write(t, "listen: a:1\nnewer_limit: 3\n")}, &stdout, &stderr, nil)
	if got := stderr.String(); !strings.Contains(got, "2: newer_limit: unknown key") || !strings.Contains(got, "this is version "+Version()+": ") {
		t.Error(got)
	}
	stderr = output{}
	run(runs(nil), []string{"--config", write(t, "listen: 3s\nservice: {drain_for: 0s}\n")}, &stdout, &stderr, nil)
	if got := stderr.String(); strings.Contains(got, "this is version") {
		t.Error(got)
	}
}
