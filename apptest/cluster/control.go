//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"headgate.example/apptest/services"
)

const (
	actionWithin    = 60 * time.Second
	maxActionWithin = 10 * time.Minute
	headersWithin   = 5 * time.Second
)

// Serve answers on the control socket until the context is done or somebody asks for the end. It does not
// stop the members: Close does.
func (s *Supervisor) Serve(ctx context.Context) error {
	ctx, down := context.WithCancel(ctx)
	defer down()
	_ = os.Remove(s.folder.Socket()) // of a supervisor that was killed; we hold the lock
	listener, err := net.Listen("unix", s.folder.Socket())
	if err != nil {
		return err
	}
	if err := os.Chmod(s.folder.Socket(), 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.State()) })
	mux.HandleFunc("POST /members/{name}/{action}", s.act)
	mux.HandleFunc("POST /sync", func(w http.ResponseWriter, r *http.Request) {
		names, err := s.Sync(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, map[string][]string{"started": names})
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusAccepted, struct{}{})
		down()
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headersWithin}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(last) != nil { // an action is under way: it ends with its connection
		_ = server.Close()
	}
	<-served
	return nil
}

func answer(w http.ResponseWriter, status int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(what) // the caller is gone when it fails
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var c conflict
	if errors.As(err, &c) {
		status = http.StatusConflict
	}
	answer(w, status, map[string]string{"error": err.Error()})
}

// act does to a member what the path says, and answers with the member.
func (s *Supervisor) act(w http.ResponseWriter, r *http.Request) {
	m := s.member(r.PathValue("name"))
	if m == nil {
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no member " + r.PathValue("name")})
		return
	}
	wait := actionWithin
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait <= 0 || wait > maxActionWithin {
			answer(w, http.StatusBadRequest, map[string]string{"error": "wait: want a duration such as 60s, at most " + maxActionWithin.String()})
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	done, err := m.act(ctx)
	if err == nil {
		err = m.do(ctx, r.PathValue("action"), r.URL.Query().Get("bin"))
		done()
	}
	s.log.Info("action", "member", m.entry.Name, "action", r.PathValue("action"), "error", err)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, m.status(spent()))
}

// do is one action; the caller has the member's turn.
func (m *member) do(ctx context.Context, action, bin string) error {
	switch action {
	case "start":
		return m.start(ctx)
	case "kill":
		return m.kill()
	case "stop":
		return m.stop(ctx)
	case "restart":
		return m.restart(ctx, bin)
	case "pause":
		return m.pause()
	case "resume":
		return m.resume()
	case "cut", "heal":
		return m.cutOff(ctx, action == "cut")
	case "reload":
		return m.reload()
	case "alarm", "calm":
		if m.entry.Kind != RabbitMQ {
			return conflictf("%s is no broker: only rabbitmq has alarms", m.entry.Name)
		}
		mark := []string{"0"}
		if action == "calm" {
			mark = services.CalmWatermark()
		}
		return m.control(ctx, append([]string{"set_vm_memory_high_watermark"}, mark...)...)
	}
	return conflictf("there is no action %q: kill stop start restart reload pause resume cut heal, of rabbitmq alarm calm", action)
}

// restart stops and starts the member (nginx hands over instead, as far as it can), its program taken from another folder when one is given; without
// one it is the cluster's own again.
func (m *member) restart(ctx context.Context, bin string) error {
	next := m.s.bin
	if bin != "" {
		path, err := filepath.Abs(bin)
		if err == nil {
			_, err = os.Stat(filepath.Join(path, m.entry.Kind))
		}
		if err != nil {
			return conflictf("bin: no program %s there: %v", m.entry.Kind, err)
		}
		next = path
	}
	m.mu.Lock()
	if m.cut { // found before it is stopped
		m.mu.Unlock()
		return conflictf("%s is cut off and could not become ready: heal it first", m.entry.Name)
	}
	serving := m.state == Running && m.aliveLocked()
	m.mu.Unlock()
	if serving && m.entry.Kind == Nginx {
		err := m.handOver(ctx)
		if !errors.Is(err, errCannotHandOver) {
			return err
		}
		m.s.log.Warn("nginx is stopped and started: connections are refused meanwhile", "error", err)
	}
	if err := m.stop(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	m.bin = next
	m.mu.Unlock()
	return m.start(ctx)
}
