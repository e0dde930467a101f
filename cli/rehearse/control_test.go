package rehearse

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// supervisor answers on a cluster's control socket; it gives the folder.
func supervisor(t *testing.T, handler http.Handler) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "rehearse") // a short path: sockets' are bounded
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, controlSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
		_ = os.RemoveAll(folder)
	})
	return folder
}

func TestControl(t *testing.T) {
	var did []string
	mux := http.NewServeMux()
	version := 1
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"version": version, "edge": "http://127.0.0.1:8000", "operator_config": "/c/headgate.yaml", "env_file": "/c/env", "logs": "/c/logs",
			"members": []map[string]any{{"name": "counter-s1-2", "kind": "counter", "pid": 7, "state": "running", "cut": true, "admin": "http://127.0.0.1:8182",
				"version": "abc", "cpu_seconds": 1.5, "restarts": 2}},
		})
	})
	mux.HandleFunc("POST /members/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		did = append(did, r.PathValue("action")+" "+r.PathValue("name"))
		if r.PathValue("action") == "cut" {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"error":"nft is not installed"}`))
			return
		}
		_, _ = w.Write([]byte(`{}`))
	})
	c := OpenControl(supervisor(t, mux))
	defer c.Close()
	cluster, err := c.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Running{Member: Member{"counter-s1-2", "counter"}, PID: 7, State: "running", Cut: true, Admin: "http://127.0.0.1:8182", Version: "abc", CPUSeconds: 1.5, Restarts: 2}
	if cluster.Edge != "http://127.0.0.1:8000" || cluster.OperatorConfig != "/c/headgate.yaml" || cluster.EnvFile != "/c/env" || cluster.Members[0] != want {
		t.Errorf("%+v", cluster)
	}
	if cluster.Breakable()[0].group() != "counter-s1" {
		t.Errorf("group %s", cluster.Breakable()[0].group())
	}
	if err := c.Do(t.Context(), "nginx", "kill"); err != nil || len(did) != 1 || did[0] != "kill nginx" {
		t.Errorf("%v, %v", did, err)
	}
	if err := c.Do(t.Context(), "nginx", "cut"); err == nil || !strings.Contains(err.Error(), "409") || !strings.Contains(err.Error(), "nft is not installed") {
		t.Errorf("%v", err)
	}
	version = 2
	if _, err := c.Cluster(t.Context()); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%v", err)
	}
}

func TestNoSupervisor(t *testing.T) {
	c := OpenControl(t.TempDir())
	defer c.Close()
	if _, err := c.Cluster(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v", err)
	}
}
