//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
)

// Client speaks to a running supervisor.
type Client struct{ http *http.Client }

// ErrNoSupervisor: nobody answers on the control socket.
var ErrNoSupervisor = errors.New("no supervisor answers")

// maxAnswerBytes bounds what is read of one answer.
const maxAnswerBytes = 1 << 20

// Dial makes a client for a folder's control socket; it connects with each call.
func Dial(f Folder) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", f.Socket())
		},
	}}}
}

// State asks for all members.
func (c *Client) State(ctx context.Context) (s State, err error) {
	err = c.call(ctx, http.MethodGet, "/cluster", &s)
	return s, err
}

// Do does something to a member; query may be nil.
func (c *Client) Do(ctx context.Context, member, action string, query url.Values) (s Status, err error) {
	path := "/members/" + url.PathEscape(member) + "/" + url.PathEscape(action)
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	err = c.call(ctx, http.MethodPost, path, &s)
	return s, err
}

// Sync has the supervisor read its layout again, and gives the names of the members it started.
func (c *Client) Sync(ctx context.Context) ([]string, error) {
	var started struct {
		Started []string `json:"started"`
	}
	err := c.call(ctx, http.MethodPost, "/sync", &started)
	return started.Started, err
}

// Down asks for the end of everything, and does not wait for it.
func (c *Client) Down(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/down", &struct{}{})
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("%w: %w", ErrNoSupervisor, err)
		}
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		var refusal struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(text, &refusal) != nil || refusal.Error == "" {
			return fmt.Errorf("the supervisor answered %d: %.200q", response.StatusCode, text)
		}
		return errors.New(refusal.Error)
	}
	return json.Unmarshal(text, into)
}
