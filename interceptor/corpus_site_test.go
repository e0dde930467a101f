package interceptor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

// corpusSite is an edge before an upstream that notes every byte.
type corpusSite struct {
	edge     *edge
	upstream *recorder
	hops     *auth.Keyring
}

func newCorpusSite(t testing.TB, with string) *corpusSite {
	t.Helper()
	s := &corpusSite{upstream: newRecorder(t)}
	log := servicetest.Log(t)
	if _, fuzzing := t.(*testing.F); fuzzing {
		log = slog.New(slog.DiscardHandler)
	}
	s.edge = newLoggedEdge(t, log, func(c *Config) {
		c.Server.ReadTimeout = corpusReadTimeout
		c.Upstreams[0].Addresses = []string{s.upstream.listener.Addr().String()}
		c.Upstreams[0].Health.Off = true
		switch with {
		case "trusted_proxy":
			c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"}
		case "cors":
			for i := range c.Routes {
				switch r := &c.Routes[i]; r.Name {
				case "assets":
					r.CORS = &CORS{Origins: []string{"*"}}
				case "reserve", "orders":
					r.CORS = &CORS{Origins: []string{"https://shop.example", "https://m.shop.example:8443"}, Credentials: true, MaxAge: time.Hour}
				}
			}
		}
	})
	var err error
	if s.hops, err = auth.NewKeyring(s.edge.cfg.HopKeys); err != nil {
		t.Fatal(err)
	}
	return s
}

// replace puts in what differs from run to run.
func (s *corpusSite) replace(send string) string {
	for strings.Contains(send, "{token") {
		_, rest, _ := strings.Cut(send, "{token")
		user, _, _ := strings.Cut(rest, "}")
		send = strings.ReplaceAll(send, "{token"+user+"}", s.edge.token(strings.TrimPrefix(user, " ")))
	}
	return send
}

// The headers whose values differ from run to run.
var (
	hopHeader    = regexp.MustCompile(`(?m)^Headgate-Hop: (.*)\r$`)
	idHeader     = regexp.MustCompile(`(?m)^Headgate-Request-Id: [0-9a-f]{20}\r$`)
	ticketHeader = regexp.MustCompile(`(?m)^Headgate-Ticket: (v1\.k1\..*)\r$`)
)

// shown is what the upstream received in the form of the files. Whatever differs from run to run is checked
// and replaced by its name in braces.
func (s *corpusSite) shown(requests []string) string {
	var b strings.Builder
	for _, r := range requests {
		if strings.HasPrefix(r, "GET "+probeTarget+" ") {
			continue
		}
		header, body, _ := strings.Cut(r, "\r\n\r\n")
		header += "\r\n"
		header = hopHeader.ReplaceAllStringFunc(header, func(line string) string {
			if err := s.verifyHop(header, body, hopHeader.FindStringSubmatch(line)[1]); err != nil {
				return line + " " + err.Error()
			}
			return "Headgate-Hop: {signature}\r"
		})
		header = idHeader.ReplaceAllString(header, "Headgate-Request-Id: {minted}\r")
		header = ticketHeader.ReplaceAllString(header, "Headgate-Ticket: {ticket}\r")
		header = strings.ReplaceAll(header, s.upstream.listener.Addr().String(), "{upstream}")
		b.WriteString(escape(header + "\r\n" + body))
	}
	return b.String()
}

func (s *corpusSite) verifyHop(header, body, signature string) error {
	first, rest, _ := strings.Cut(header, "\r\n")
	part := strings.Split(first, " ")
	value := func(name string) string {
		_, after, _ := strings.Cut("\r\n"+rest, "\r\n"+name+": ")
		text, _, _ := strings.Cut(after, "\r\n")
		return text
	}
	return s.hops.VerifyHop(signature, auth.Hop{Method: part[0], Path: part[1], Body: []byte(body), User: value(auth.HeaderUser),
		Name: value(auth.HeaderName), Roles: value(auth.HeaderRoles), From: value(auth.HeaderFrom)}, s.edge.clock.Now())
}

// recorder is an upstream that reads requests as they come, to the letter, and takes them all. It knows
// Content-Length only: whatever else it is sent shows.
type recorder struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu       sync.Mutex
	requests []string
	open     map[net.Conn]bool
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{listener: listener, open: map[net.Conn]bool{}}
	r.serving.Go(r.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for conn := range r.open {
			_ = conn.Close()
		}
		r.mu.Unlock()
		r.serving.Wait()
	})
	return r
}

func (r *recorder) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.open[conn] = true
		r.mu.Unlock()
		r.serving.Go(func() {
			defer conn.Close()
			for in := bufio.NewReader(conn); r.serve(conn, in) == nil; {
			}
		})
	}
}

// serve reads one request and answers it.
func (r *recorder) serve(conn io.Writer, in *bufio.Reader) error {
	var text strings.Builder
	length := 0
	for {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			if text.Len() > 0 {
				r.note(text.String() + " (and no more)")
			}
			return err
		}
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSuffix(value, "\r\n")); err != nil {
				return err
			}
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return errors.Join(err, errors.New("the body ends early"))
	}
	text.Write(body)
	r.note(text.String())
	method, rest, _ := strings.Cut(text.String(), " ")
	answer, _, _ := strings.Cut(rest, " ") // the target
	header := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(answer))
	if method == "HEAD" {
		answer = ""
	}
	_, err := io.WriteString(conn, header+answer)
	return err
}

func (r *recorder) note(request string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *recorder) since(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[n:]
}
