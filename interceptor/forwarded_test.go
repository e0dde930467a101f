package interceptor

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

// Whatever X-Forwarded-For says: the address is the connection's or one of the list's, everything to the
// right of it is trusted, and what stands left of the first untrusted one changes nothing.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{
		"", "203.0.113.9", "6.6.6.6, 203.0.113.9, 10.1.2.3", "6.6.6.6\n203.0.113.9, 10.1.2.3", "unknown, 10.1.2.3", "10.9.9.9,10.1.2.3,",
		"2001:db8::1%eth0", "[2001:db8::1]:443", "203.0.113.9:80", "::ffff:10.1.2.3, ::ffff:203.0.113.9", ",,,\n,\n", strings.Repeat("10.1.1.1,", 100),
	} {
		f.Add(seed, "6.6.6.6")
	}
	proxies := &plan{trustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	from := netip.MustParseAddr("10.0.0.1")
	split := func(text string) (lines [][]byte) {
		for line := range strings.SplitSeq(text, "\n") {
			lines = append(lines, []byte(line))
		}
		return lines
	}
	f.Fuzz(func(t *testing.T, text, forged string) {
		lines := split(text)
		got := walkForwarded(lines, from, proxies.trusted)
		if got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q: %s is not in its one form", text, got)
		}
		list := bytes.Split(bytes.Join(lines, []byte(",")), []byte(","))
		at, found := len(list), got == from
		for i := len(list) - 1; i >= 0 && !found; i-- {
			hop, ok := parseForwarded(strings.TrimSpace(string(list[i])))
			if found = ok && hop == got && !proxies.trusted(got); found {
				at = i
			}
		}
		if !proxies.trusted(got) && !found {
			t.Fatalf("%q: %s stands nowhere", text, got)
		}
		for _, right := range list[min(at+1, len(list)):] {
			if word := strings.TrimSpace(string(right)); word != "" {
				if hop, ok := parseForwarded(word); !ok || !proxies.trusted(hop) {
					t.Fatalf("%q: %s stands left of %s, which is not trusted", text, got, word)
				}
			}
		}
		if !proxies.trusted(got) {
			if again := walkForwarded(append(split(forged), lines...), from, proxies.trusted); again != got {
				t.Fatalf("%q: %q before it makes %s of %s", text, forged, again, got)
			}
		}
	})
}

func TestGivenRequestIDs(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "7f3a-91.b_C": true, strings.Repeat("x", maxGivenID): true,
		"": false, strings.Repeat("x", maxGivenID+1): false, "a b": false, "a\"": false, "a\x00": false, "é": false} {
		if got := isGivenID([]byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
