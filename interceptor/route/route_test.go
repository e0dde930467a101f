package route

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCanonicalAcceptsOneForm(t *testing.T) {
	for _, target := range []string{
		"/", "/api/sales", "/api/sales/1/orders", "/assets/", "/assets/app.v1.js", "/a..b/.c/..d",
		"/api/orders/12?wait=10s&x=%2F..", "/name/%E4%BD%A0", "/with%20space", "/?", "/a%40b", "/2001%3adb8%3A%3A1", "/a@b:c",
	} {
		p, q, err := Canonical([]byte(target))
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		want, wantQuery, _ := strings.Cut(target, "?")
		if string(p) != want || string(q) != wantQuery {
			t.Errorf("%s: split into %q and %q", target, p, q)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, c := range []struct {
		target string
		want   error
	}{
		{"", ErrTargetLength},
		{"/" + strings.Repeat("a", MaxTargetBytes), ErrTargetLength},
		{"http://other/api/sales", ErrTargetForm},
		{"*", ErrTargetForm},
		{"host:80", ErrTargetForm},
		{"//a", ErrTargetSegment},
		{"/a//b", ErrTargetSegment},
		{"/a/./b", ErrTargetSegment},
		{"/a/../b", ErrTargetSegment},
		{"/a/..", ErrTargetSegment},
		{"/.", ErrTargetSegment},
		{"/a%2fb", ErrTargetEncoding},
		{"/a%2Fb", ErrTargetEncoding},
		{"/a%5cb", ErrTargetEncoding},
		{"/%2e%2e/b", ErrTargetEncoding},
		{"/a%252fb", ErrTargetEncoding},
		{"/%61pi/admin", ErrTargetEncoding},
		{"/a%00", ErrTargetEncoding},
		{"/a%0d%0a", ErrTargetEncoding},
		{"/a%7f", ErrTargetEncoding},
		{"/a%zz", ErrTargetEscape},
		{"/a%2", ErrTargetEscape},
		{"/a\\b", ErrTargetByte},
		{"/a;b=c", ErrTargetByte},
		{"/a#b", ErrTargetByte},
		{"/a?b#c", ErrTargetByte},
		{"/a\x80", ErrTargetByte},
		{"/a?b\x01", ErrTargetByte},
	} {
		if _, _, err := Canonical([]byte(c.target)); !errors.Is(err, c.want) {
			t.Errorf("%q: got %v, want %v", c.target, err, c.want)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/", "/api/sales/1/orders?x=1", "//a/../b%2f..%2fc", "/a%252e", "http://h/", "/%e4%bd%a0/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		p, _, err := Canonical([]byte(target))
		if err != nil {
			return
		}
		decoded, err := url.PathUnescape(string(p))
		if err != nil {
			t.Fatalf("%q was accepted but cannot be decoded: %v", target, err)
		}
		clean := path.Clean(decoded)
		if strings.HasSuffix(decoded, "/") && clean != "/" {
			clean += "/"
		}
		if clean != decoded {
			t.Fatalf("%q is not canonical: decodes to %q, cleans to %q", target, decoded, clean)
		}
		if strings.Count(decoded, "/") != strings.Count(string(p), "/") || strings.ContainsAny(decoded, "\\%\x00\r\n") {
			t.Fatalf("%q hides structure: decodes to %q", target, decoded)
		}
	})
}

func table(t testing.TB) *Table {
	t.Helper()
	entries := []Entry{}
	for _, e := range []struct{ pattern, methods string }{
		{"/api/sales/{sale}/orders", "POST"},
		{"/api/sales", "GET"},
		{"/api/sales/{sale}", "GET"},
		{"/api/orders/{order}/*", "POST"},
		{"/assets/*", "GET"},
		{"/", "GET"},
	} {
		p, err := ParsePattern(e.pattern)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{Pattern: p, Methods: strings.Split(e.methods, " ")})
	}
	return NewTable(entries)
}

func TestTableFinds(t *testing.T) {
	tab := table(t)
	for _, c := range []struct {
		method, path string
		index        int
		parameter    string
	}{
		{"POST", "/api/sales/1/orders", 0, "1"},
		{"GET", "/api/sales/1/orders", NoMethod, ""},
		{"GET", "/api/sales", 1, ""},
		{"HEAD", "/api/sales", 1, ""},
		{"GET", "/api/sales/", NoPath, ""},
		{"GET", "/api/sales/x.y", 2, "x.y"},
		{"POST", "/api/orders/7/pay", 3, "7"},
		{"POST", "/api/orders/7/", 3, "7"},
		{"POST", "/api/orders/7", NoPath, ""},
		{"GET", "/assets/a/b.js", 4, ""},
		{"GET", "/assetsx", NoPath, ""},
		{"GET", "/", 5, ""},
		{"GET", "/api", NoPath, ""},
		{"GET", "/api/sales/1/orders/2", NoPath, ""},
	} {
		index, parameter := tab.Find([]byte(c.method), []byte(c.path))
		if index != c.index || string(parameter) != c.parameter {
			t.Errorf("%s %s: route %d with %q, want %d with %q", c.method, c.path, index, parameter, c.index, c.parameter)
		}
	}
}

func TestCatchAllPattern(t *testing.T) {
	p, err := ParsePattern("/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/a", "/a/b"} {
		if _, ok := p.Match([]byte(path)); !ok {
			t.Errorf("%s does not fit /*", path)
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for _, text := range []string{"", "a", "/a/*/b", "/{a}/{b}", "/a//b", "/{}", "/a*", "/a%20b", "/../x", "/a@b", strings.Repeat("/a", MaxSegments+1)} {
		if _, err := ParsePattern(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	tab, target, method := table(t), []byte("/api/sales/1/orders?x=1"), []byte("POST")
	if n := testing.AllocsPerRun(100, func() {
		p, _, err := Canonical(target)
		if err != nil {
			t.Fatal(err)
		}
		tab.Find(method, p)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
