package sale

import (
	"errors"
	"net/netip"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7",
		"192.0.2.7/32":         "192.0.2.7",
		"192.0.2.77/24":        "192.0.2.0/24",
		"0.0.0.0/0":            "0.0.0.0/0",
		"::ffff:192.0.2.7":     "192.0.2.7",
		"2001:DB8::1":          "2001:db8::1",
		"2001:db8:0::1/128":    "2001:db8::1",
		"2001:db8:1:2::5/64":   "2001:db8:1:2::/64",
		"::/0":                 "::/0",
		"":                     "",
		"192.0.2":              "",
		"192.0.2.1/33":         "",
		"192.0.2.1/-1":         "",
		"192.0.2.1/024":        "",
		"192.0.2.1:80":         "",
		"010.0.0.1":            "",
		"fe80::1%eth0":         "",
		"fe80::1%eth0/64":      "",
		"::ffff:192.0.2.0/120": "",
		"[::1]":                "",
		"a1":                   "",
	} {
		network, err := ParseNetwork(text)
		var wrong *FieldError
		switch {
		case want == "" && !errors.As(err, &wrong):
			t.Errorf("%q: %v, %v; want a *FieldError", text, network, err)
		case want != "" && (err != nil || NetworkText(network) != want):
			t.Errorf("%q: %v, %v; want %s", text, network, err, want)
		}
	}
}

// Whatever is read has one text, which is read as the same network, and holds the address it came from.
func FuzzParseNetwork(f *testing.F) {
	for _, text := range []string{"192.0.2.7", "192.0.2.77/24", "::ffff:192.0.2.7", "2001:db8::5/64", "0.0.0.0/0", "::ffff:1.2.3.0/120", "fe80::1%a", "1.2.3.4/+8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		network, err := ParseNetwork(text)
		if err != nil {
			return
		}
		again, err := ParseNetwork(NetworkText(network))
		if err != nil || again != network {
			t.Fatalf("%q: %s is read again as %v, %v", text, NetworkText(network), again, err)
		}
		if network.Addr().Is4In6() || network.Masked() != network || network.Addr().Zone() != "" {
			t.Fatalf("%q: %v is not the one form", text, network)
		}
		if addr, err := netip.ParseAddr(text); err == nil && !network.Contains(addr.Unmap()) {
			t.Fatalf("%q: not in %v", text, network)
		}
	})
}
