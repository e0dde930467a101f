package rehearse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Bounds of the control client.
const (
	controlSocket  = "control.sock"
	maxControlBody = 1 << 20
	askTimeout     = 5 * time.Second
	actionTimeout  = 90 * time.Second // a broker that starts again takes its time
)

// Cluster is a running cluster as its supervisor tells.
type Cluster struct {
	Version        int       `json:"version"`
	Edge           string    `json:"edge"`
	OperatorConfig string    `json:"operator_config"`
	EnvFile        string    `json:"env_file"`
	Logs           string    `json:"logs"`
	Members        []Running `json:"members"`
}

// Running is one of its members.
type Running struct {
	Member
	PID        int     `json:"pid"`
	State      string  `json:"state"` // running paused stopped dead starting
	Cut        bool    `json:"cut"`
	Admin      string  `json:"admin"`
	Version    string  `json:"version"`
	CPUSeconds float64 `json:"cpu_seconds"` // of the process and its children, over all its restarts
	Restarts   int     `json:"restarts"`
}

// Breakable are those that can be broken.
func (c *Cluster) Breakable() []Member {
	list := make([]Member, len(c.Members))
	for i := range c.Members {
		list[i] = c.Members[i].Member
	}
	return list
}

// Control asks a cluster's supervisor.
type Control struct {
	client *http.Client
	socket string
}

// OpenControl takes the cluster's folder. Nothing is asked yet.
func OpenControl(folder string) *Control {
	socket := filepath.Join(folder, controlSocket)
	dialer := &net.Dialer{Timeout: askTimeout}
	return &Control{socket: socket, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close lets go of its connections.
func (c *Control) Close() { c.client.CloseIdleConnections() }

// Cluster tells how the cluster stands.
func (c *Control) Cluster(ctx context.Context) (Cluster, error) {
	var cluster Cluster
	err := c.call(ctx, askTimeout, http.MethodGet, "/cluster", &cluster)
	if err == nil && cluster.Version != 1 {
		err = fmt.Errorf("the cluster's supervisor speaks version %d, this program version 1: build both from the same sources", cluster.Version)
	}
	return cluster, err
}

// Do lets the supervisor do something with a member, such as kill, and waits until it is done.
func (c *Control) Do(ctx context.Context, member, action string) error {
	return c.call(ctx, actionTimeout, http.MethodPost, "/members/"+url.PathEscape(member)+"/"+action, nil)
}

func (c *Control) call(ctx context.Context, within time.Duration, method, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, bytes.NewReader(nil))
	if err != nil {
		return err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("the cluster's supervisor at %s does not answer: %w", c.socket, errors.Unwrap(err))
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxControlBody))
	if err != nil {
		return fmt.Errorf("the cluster's supervisor at %s: %w", c.socket, err)
	}
	if response.StatusCode != http.StatusOK {
		var said struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(text, &said) != nil || said.Error == "" {
			said.Error = strings.TrimSpace(string(text))
		}
		return fmt.Errorf("the cluster's supervisor answered %d to %s %s: %.300s", response.StatusCode, method, path, said.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of the cluster's supervisor cannot be read: %w", err)
	}
	return nil
}
