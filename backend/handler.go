package backend

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// handler is what stands before the routes: it counts, survives panics, bounds and reads the body,
// and finds out who asks.
func (s *Server) handler(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if cause := recover(); cause != nil {
				s.panicked(rec, r, cause)
			}
			s.metrics.answered(rec.status, time.Since(started))
		}()
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		body, err := readBody(rec, r)
		if err != nil {
			err.Instance = requestID(r)
			err.WriteHTTP(rec)
			return
		}
		// The whole request is read: from here on only the write time-out counts. Left in place, the
		// read deadline would end a long poll's context.
		_ = http.NewResponseController(rec).SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		mux.ServeHTTP(rec, s.identify(r, body))
	})
}

// readBody reads a whole body of at most maxBodyBytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem.Problem) {
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > maxBodyBytes {
		w.Header().Set("Connection", "close")
		return nil, problem.Newf(problem.BodyTooLarge, "The body may have at most %d bytes.", maxBodyBytes)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, problem.Newf(problem.BodyTooLarge, "The body may have at most %d bytes.", maxBodyBytes)
	}
	if err != nil {
		return nil, problem.New(problem.InvalidRequest, "The body ended early.").Because(err)
	}
	return body, nil
}

func (s *Server) panicked(rec *recorder, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler { //nolint:errorlint // the sentinel itself is what is thrown
		panic(cause)
	}
	if r.Context().Err() != nil {
		return // the caller left while the answer was written
	}
	s.metrics.panics.Inc()
	s.log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
	if rec.status == 0 {
		p := problem.New(problem.Internal, "")
		p.Instance = requestID(r)
		p.WriteHTTP(rec)
	}
}

// requestID is the edge's id of a request, as problems show it; empty when there is none.
func requestID(r *http.Request) string { return cleanID(r.Header.Get(auth.HeaderRequestID)) }

func cleanID(id string) string {
	if len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return id
}

// notFound answers whatever no route matches: 405 where another method would, else 404.
func (s *Server) notFound(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "" && pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		p := problem.New(problem.NotFound, "There is no such route.")
		asked := r.Method
		if asked == http.MethodHead {
			asked = http.MethodGet
		}
		if len(allowed) > 0 && !slices.Contains(allowed, asked) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			p = problem.Newf(problem.MethodNotAllowed, "This route answers %s.", strings.Join(allowed, ", "))
		}
		p.Instance = requestID(r)
		p.WriteHTTP(w)
	}
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
