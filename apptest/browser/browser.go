// Package browser drives a real headless Chromium through chromedriver's WebDriver protocol (W3C),
// spoken as plain JSON over HTTP on a loopback port.
package browser

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// Bounds of one call and of one wait.
const (
	callTimeout = 2 * time.Minute // a browser's first start on a slow disk
	maxAnswer   = 32 << 20        // a screenshot
)

// Session is one browser window. It ends with the test; a failed test keeps a screenshot.
type Session struct {
	t    testing.TB
	base string // .../session/ID
	http *http.Client
}

// Open starts chromedriver and a fresh browser of the given size in CSS pixels.
func Open(t testing.TB, chromedriver, chromium string, width, height int) *Session {
	t.Helper()
	address := programs.FreePorts(t, 1)[0]
	port := address[len("127.0.0.1:"):]
	home := t.TempDir()
	programs.Start(t, programs.Spec{
		Name: "chromedriver", Path: chromedriver, Args: []string{"--port=" + port, "--allowed-ips=127.0.0.1"},
		Env: []string{"HOME=" + home}, Ready: "http://" + address + "/status",
	})
	s := &Session{t: t, base: "http://" + address, http: &http.Client{Timeout: callTimeout}}
	var created struct {
		SessionID string `json:"sessionId"`
	}
	s.call(http.MethodPost, "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"binary": chromium, "args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--user-data-dir=" + filepath.Join(home, "profile"), fmt.Sprintf("--window-size=%d,%d", width, height),
		}},
	}}}, &created)
	s.base += "/session/" + created.SessionID
	t.Cleanup(func() {
		if t.Failed() {
			s.keepScreenshot()
		}
		s.try(http.MethodDelete, "", nil, nil) //nolint:errcheck // the driver is about to be ended
	})
	return s
}

// Go opens an address and waits until the page has loaded.
func (s *Session) Go(url string) {
	s.t.Helper()
	s.call(http.MethodPost, "/url", map[string]string{"url": url}, nil)
}

// Eval runs a script's body and decodes what it returns.
func (s *Session) Eval(into any, script string, args ...any) {
	s.t.Helper()
	if args == nil {
		args = []any{}
	}
	s.call(http.MethodPost, "/execute/sync", map[string]any{"script": script, "args": args}, into)
}

// Wait evaluates an expression until it is true, for at most the time given.
func (s *Session) Wait(within time.Duration, what, expression string) {
	s.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var done bool
		s.Eval(&done, "return Boolean("+expression+")")
		if done {
			return
		}
		select {
		case <-deadline.C:
			s.t.Fatalf("not within %s: %s (%s)\nthe page says:\n%s", within, what, expression, s.Text("body"))
		case <-tick.C:
		}
	}
}

const elementKey = "element-6066-11e4-a52e-4f735466cecf" // fixed by the standard

func (s *Session) element(css string) string {
	s.t.Helper()
	var found map[string]string
	s.call(http.MethodPost, "/element", map[string]string{"using": "css selector", "value": css}, &found)
	return "/element/" + found[elementKey]
}

// Click clicks as a user does: the element must be visible and not covered.
func (s *Session) Click(css string) {
	s.t.Helper()
	s.call(http.MethodPost, s.element(css)+"/click", struct{}{}, nil)
}

// Type types into a field.
func (s *Session) Type(css, text string) {
	s.t.Helper()
	s.call(http.MethodPost, s.element(css)+"/value", map[string]string{"text": text}, nil)
}

// Text is what an element shows.
func (s *Session) Text(css string) string {
	s.t.Helper()
	var text string
	s.call(http.MethodGet, s.element(css)+"/text", nil, &text)
	return text
}

// Errors gives the errors that the page has written to the browser's console.
func (s *Session) Errors() []string {
	s.t.Helper()
	var entries []struct{ Level, Message string }
	s.call(http.MethodPost, "/se/log", map[string]string{"type": "browser"}, &entries)
	var severe []string
	for _, e := range entries {
		if e.Level == "SEVERE" {
			severe = append(severe, e.Message)
		}
	}
	return severe
}

// Screenshot writes the window as PNG.
func (s *Session) Screenshot(path string) error {
	var encoded string
	if err := s.try(http.MethodGet, "/screenshot", nil, &encoded); err != nil {
		return err
	}
	picture, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	return os.WriteFile(path, picture, 0o644)
}

func (s *Session) keepScreenshot() {
	folder := filepath.Join(os.TempDir(), "headgate-failed", filepath.Base(s.t.Name()))
	path := filepath.Join(folder, "browser.png")
	err := os.MkdirAll(folder, 0o755)
	if err == nil {
		err = s.Screenshot(path)
	}
	if err != nil {
		s.t.Logf("no screenshot: %v", err)
		return
	}
	s.t.Logf("the browser's last picture: %s", path)
}

func (s *Session) call(method, path string, in, out any) {
	s.t.Helper()
	if err := s.try(method, path, in, out); err != nil {
		s.t.Fatalf("browser: %s %s: %v", method, path, err)
	}
}

func (s *Session) try(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		return err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	var answer struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("status %d: %.200q", response.StatusCode, text)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %.500s", response.StatusCode, answer.Value)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, out)
}
