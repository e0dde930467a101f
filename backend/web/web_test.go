package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"headgate.example/backend/web"
)

func serve(t *testing.T, path string, headers ...string) *http.Response {
	t.Helper()
	site, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	site.Register(mux, http.NotFound)
	site.RegisterSandbox(mux, "/pay")
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPagesAreStrict(t *testing.T) {
	for _, path := range []string{"/", "/pay"} {
		t.Run(path, func(t *testing.T) { strictPage(t, path) })
	}
}

func strictPage(t *testing.T, path string) {
	r := serve(t, path)
	if r.StatusCode != 200 || r.Header.Get("Content-Security-Policy") != web.Policy || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	page := text(t, r)
	for _, inline := range []string{`<style`, ` style=`, ` onclick=`, `javascript:`, `http://`, `https://`} {
		if strings.Contains(page, inline) {
			t.Errorf("the page holds %q, which its policy forbids", inline)
		}
	}
	if regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(page) {
		t.Error("the page holds an inline script")
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		if r := serve(t, m[1]); r.StatusCode != 200 {
			t.Errorf("%s: %d", m[1], r.StatusCode)
		}
	}
}

func TestAssets(t *testing.T) {
	site, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range site.Paths() {
		r := serve(t, path)
		body := text(t, r)
		tag := r.Header.Get("ETag")
		if r.StatusCode != 200 || tag == "" || r.Header.Get("Cache-Control") == "" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
		if r := serve(t, path, "If-None-Match", tag); r.StatusCode != http.StatusNotModified {
			t.Errorf("%s with its tag: %d", path, r.StatusCode)
		}
		zipped := serve(t, path, "Accept-Encoding", "br, gzip")
		if zipped.Header.Get("Content-Encoding") != "gzip" {
			continue // too small to pay
		}
		plain, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(plain); err != nil || string(got) != body {
			t.Errorf("%s: the compressed form differs: %v", path, err)
		}
		if zipped.Header.Get("ETag") == tag {
			t.Errorf("%s: both forms have one tag", path)
		}
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(body, -1) {
			if r := serve(t, "/assets/"+m[1]); r.StatusCode != 200 {
				t.Errorf("%s imports %s: %d", path, m[1], r.StatusCode)
			}
		}
		if strings.Contains(body, "innerHTML") {
			t.Errorf("%s sets markup from text", path)
		}
	}
	if r := serve(t, "/assets/none.js"); r.StatusCode != 404 {
		t.Errorf("an unknown file: %d", r.StatusCode)
	}
}
