package auth

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func sampleHop() Hop {
	return Hop{Method: "POST", Path: "/api/sales/1/orders?x=1", Body: []byte(`{"quantity":1}`), User: "u1", Name: "Ann", Roles: "buyer,admin", From: "n1", Hops: 1}
}

func TestHopsVerify(t *testing.T) {
	r := ring(t)
	for name, hop := range map[string]Hop{"full": sampleHop(), "empty": {}, "no body": {Method: "GET", Path: "/"}} {
		header := r.SignHop(hop, now)
		if len(header) > MaxHopBytes {
			t.Errorf("%s: the header has %d bytes", name, len(header))
		}
		for _, at := range []time.Duration{0, HopSkew, -HopSkew} {
			if err := r.VerifyHop(header, hop, now.Truncate(time.Millisecond).Add(at)); err != nil {
				t.Errorf("%s, %s later: %v", name, at, err)
			}
		}
	}
	if a, b := r.SignHop(sampleHop(), now), r.SignHop(sampleHop(), now); a == b {
		t.Error("two signatures of one hop have the same nonce")
	}
}

// Each field is signed, and none runs over into the next.
func TestHopsSignEveryField(t *testing.T) {
	r := ring(t)
	hop := sampleHop()
	header := r.SignHop(hop, now)
	for name, change := range map[string]func(*Hop){
		"method":            func(h *Hop) { h.Method = "PUT" },
		"path":              func(h *Hop) { h.Path = "/api/sales/2/orders?x=1" },
		"query":             func(h *Hop) { h.Path = "/api/sales/1/orders?x=2" },
		"body":              func(h *Hop) { h.Body = []byte(`{"quantity":2}`) },
		"no body":           func(h *Hop) { h.Body = nil },
		"user":              func(h *Hop) { h.User = "u2" },
		"name":              func(h *Hop) { h.Name = "Bob" },
		"roles":             func(h *Hop) { h.Roles = "admin" },
		"from":              func(h *Hop) { h.From = "" },
		"hops":              func(h *Hop) { h.Hops = 0 },
		"user and name":     func(h *Hop) { h.User, h.Name = "u1A", "nn" },
		"name and roles":    func(h *Hop) { h.Name, h.Roles = "Ann\n11:buyer,admin", "" },
		"method and path":   func(h *Hop) { h.Method, h.Path = "POST/api", "/sales/1/orders?x=1" },
		"hops and the body": func(h *Hop) { h.Hops = 11 },
	} {
		other := hop
		change(&other)
		if err := r.VerifyHop(header, other, now); !errors.Is(err, ErrHopSignature) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
}

func TestVerifyHopRefuses(t *testing.T) {
	r := ring(t)
	hop := sampleHop()
	good := r.SignHop(hop, now)
	parts := strings.Split(good, ".")
	with := func(i int, text string) string {
		changed := append([]string(nil), parts...)
		changed[i] = text
		return strings.Join(changed, ".")
	}
	for _, c := range []struct {
		name, header string
		later        time.Duration
		want         error
	}{
		{"empty", "", 0, ErrHopMalformed},
		{"too long", good + strings.Repeat("x", 200), 0, ErrHopMalformed},
		{"four parts", strings.Join(parts[:4], "."), 0, ErrHopMalformed},
		{"six parts", good + ".x", 0, ErrHopMalformed},
		{"later version", with(0, "v2"), 0, ErrHopMalformed},
		{"unknown key", with(1, "t9"), 0, ErrHopKey},
		{"the other key", with(1, "t0"), 0, ErrHopSignature},
		{"no time", with(2, ""), 0, ErrHopMalformed},
		{"time beyond time", with(2, "9223372036854775807"), 0, ErrHopMalformed},
		{"negative time", with(2, "-1"), 0, ErrHopMalformed},
		{"time with a sign", with(2, "+"+parts[2]), 0, ErrHopSignature},
		{"another time", with(2, "1790000000124"), 0, ErrHopSignature},
		{"short nonce", with(3, parts[3][1:]), 0, ErrHopMalformed},
		{"another nonce", with(3, strings.Repeat("A", 22)), 0, ErrHopSignature},
		{"no signature", with(4, ""), 0, ErrHopSignature},
		{"padded signature", good + "=", 0, ErrHopSignature},
		{"too late", good, HopSkew + time.Millisecond, ErrHopTime},
		{"from the future", good, -HopSkew - time.Millisecond, ErrHopTime},
	} {
		if err := r.VerifyHop(c.header, hop, now.Add(c.later)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	other, err := NewKeyring([]SymmetricKey{{ID: "t1", Secret: "another-secret-entirely"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.VerifyHop(good, hop, now); !errors.Is(err, ErrHopSignature) {
		t.Errorf("another secret: %v", err)
	}
}

func FuzzVerifyHop(f *testing.F) {
	r := ring(f)
	hop := sampleHop()
	good := r.signHop(hop, now, strings.Repeat("n", 22)) // the same in each of the fuzzer's processes
	for _, seed := range []string{good, "", "v1....", "v1.t1.1.AAAAAAAAAAAAAAAAAAAAAA.x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if r.VerifyHop(header, hop, now) == nil && header != good {
			t.Fatalf("a forged hop passes: %q", header)
		}
	})
}

func BenchmarkSignAndVerifyHop(b *testing.B) {
	r, hop := ring(b), sampleHop()
	b.ReportAllocs()
	for b.Loop() {
		if err := r.VerifyHop(r.SignHop(hop, now), hop, now); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDerivedKeysDifferByAllThatTheyAreMadeOf(t *testing.T) {
	ring, err := NewKeyring([]SymmetricKey{{ID: "a", Secret: "0123456789abcdef"}, {ID: "b", Secret: "fedcba9876543210"}})
	if err != nil {
		t.Fatal(err)
	}
	if ring.SigningKey() != "a" {
		t.Errorf("signs with %q", ring.SigningKey())
	}
	seen := map[string]string{}
	for _, c := range [][]string{{"a", "x"}, {"b", "x"}, {"a", "y"}, {"a", "x", "1"}, {"a", "x", "12"}, {"a", "x", "1", "2"}, {"a", "x", "", "12"}} {
		key := ring.Derive(c[0], c[1], c[2:]...)
		if again := ring.Derive(c[0], c[1], c[2:]...); len(key) != 32 || string(again) != string(key) {
			t.Errorf("%q: %d bytes, or not the same twice", c, len(key))
		}
		if other, ok := seen[string(key)]; ok {
			t.Errorf("%q and %s share a key", c, other)
		}
		seen[string(key)] = strings.Join(c, ",")
	}
	if ring.Derive("c", "x") != nil {
		t.Error("a key was derived from one that is not there")
	}
}
