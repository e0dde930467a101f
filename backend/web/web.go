package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
)

//go:embed index.html sandbox.html assets
var files embed.FS

// Policy is the Content-Security-Policy of the page: everything from its own origin, nothing inline,
// nobody may frame it.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// asset is one embedded file as it is sent.
type asset struct {
	body   []byte
	zipped []byte // nil when compressing does not pay
	mime   string
	etag   string
}

// Site holds the embedded files with their entity tags. It is immutable after New.
type Site struct {
	pages  map[string]asset // by file name
	assets map[string]asset // by request path
}

// New reads and compresses the embedded files, once.
func New() (*Site, error) {
	s := &Site{pages: map[string]asset{}, assets: map[string]asset{}}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		a, err := newAsset(name, body)
		if err != nil {
			return fmt.Errorf("page file %s: %w", name, err)
		}
		if path.Ext(name) == ".html" {
			s.pages[name] = a
		} else {
			s.assets["/"+name] = a
		}
		return nil
	})
	return s, err
}

func newAsset(name string, body []byte) (asset, error) {
	sum := sha256.Sum256(body)
	a := asset{body: body, mime: mime.TypeByExtension(path.Ext(name)), etag: base64.RawURLEncoding.EncodeToString(sum[:12])}
	if path.Ext(name) == ".js" {
		a.mime = "text/javascript; charset=utf-8" // whatever the machine's table says
	}
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return asset{}, err
	}
	if _, err := w.Write(body); err != nil {
		return asset{}, err
	}
	if err := w.Close(); err != nil {
		return asset{}, err
	}
	if zipped.Len() < len(body)*9/10 {
		a.zipped = zipped.Bytes()
	}
	return a, nil
}

// Register adds the page and its files to a mux: "GET /{$}" and "GET /assets/".
func (s *Site) Register(mux *http.ServeMux, notFound http.HandlerFunc) {
	mux.HandleFunc("GET /{$}", s.page("index.html"))
	mux.HandleFunc("GET /assets/", func(w http.ResponseWriter, r *http.Request) {
		a, known := s.assets[r.URL.Path]
		if !known {
			notFound(w, r)
			return
		}
		// Names do not change with the content: browsers ask again after a minute, and mostly hear 304.
		a.serve(w, r, "public, max-age=60, stale-while-revalidate=600")
	})
}

// RegisterSandbox adds the pay page of the payment sandbox to a mux.
func (s *Site) RegisterSandbox(mux *http.ServeMux, path string) {
	mux.HandleFunc("GET "+path, s.page("sandbox.html"))
}

func (s *Site) page(name string) http.HandlerFunc {
	a := s.pages[name]
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", Policy)
		a.serve(w, r, "no-cache")
	}
}

// Paths lists the request paths of the files beside the page, sorted.
func (s *Site) Paths() []string {
	paths := make([]string, 0, len(s.assets))
	for p := range s.assets {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request, caching string) {
	body, tag := a.body, `"`+a.etag+`"`
	if a.zipped != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = a.zipped, `"`+a.etag+`-gzip"`
	}
	h := w.Header()
	h.Set("Cache-Control", caching)
	h.Set("ETag", tag)
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.HasSuffix(tag, `-gzip"`) {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", a.mime)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the browser left: nothing to do
	}
}

func acceptsGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return strings.ReplaceAll(strings.TrimSpace(weight), " ", "") != "q=0"
		}
	}
	return false
}

func matches(ifNoneMatch, tag string) bool {
	for part := range strings.SplitSeq(ifNoneMatch, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == tag || part == "*" {
			return true
		}
	}
	return false
}
