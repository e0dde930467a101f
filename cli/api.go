package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headgate.example/lib/auth"
)

// maxAnswerBytes bounds what is read of one answer.
const maxAnswerBytes = 8 << 20

// operatorTokenLife is how long the token of one command is good for.
const operatorTokenLife = 2 * time.Minute

// API calls the backend's admin API through the edge, as an operator whose token is signed here with
// the configured key.
type API struct {
	base   string
	signer *auth.Signer
	client *http.Client
}

// NewAPI takes the address that the config names as `api`.
func NewAPI(base string, tokens auth.TokenConfig) (*API, error) {
	tokens.Lifetime = operatorTokenLife
	signer, err := NewSigner(tokens)
	if err != nil {
		return nil, err
	}
	return &API{base: strings.TrimSuffix(base, "/"), signer: signer, client: &http.Client{Timeout: 20 * time.Second}}, nil
}

// Refusal is an answer of the API that says no.
type Refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// RetryAfter is how long to wait before asking again; 0 when the answer does not say.
	RetryAfter time.Duration `json:"-"`
	Errors     []struct {
		Location string `json:"location"`
		Field    string `json:"field"`
		Reason   string `json:"reason"`
		Message  string `json:"message"`
	} `json:"errors"`
}

func (r *Refusal) Error() string {
	text := r.Detail
	if text == "" {
		text = r.Title
	}
	if r.Code != "" {
		text = r.Code + ": " + text
	}
	for _, e := range r.Errors {
		text += fmt.Sprintf("\n  %s%s: %s%s", e.Location, e.Field, e.Message, e.Reason)
	}
	return text
}

// How often, and after how long at most, a call is made again that came too soon after others.
const (
	maxCalls    = 5
	maxCallWait = 5 * time.Second
)

// Call makes one call. in is sent as JSON unless nil; the answer is decoded into out unless nil. An
// answer other than 2xx is a *Refusal. A call that comes too soon after others waits as it is told.
func (a *API) Call(ctx context.Context, method, path string, in, out any) error {
	for calls := 1; ; calls++ {
		err := a.call(ctx, method, path, in, out)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Status != http.StatusTooManyRequests || calls == maxCalls {
			return err
		}
		timer := time.NewTimer(min(refusal.RetryAfter, maxCallWait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (a *API) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return fmt.Errorf("api: %q is no address: %w", a.base, err)
	}
	token, _, err := a.signer.SignFor("operator", "operator", []string{"admin"}, time.Now())
	if err != nil {
		return fmt.Errorf("signing the operator's token: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w; is the system running? (the address is `api` in the config)", a.base, unwrapURL(err))
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", a.base, err)
	}
	err = decodeAnswer(response.StatusCode, text, out)
	var refusal *Refusal
	if seconds, wrong := strconv.Atoi(response.Header.Get("Retry-After")); errors.As(err, &refusal) && wrong == nil {
		refusal.RetryAfter = time.Duration(seconds) * time.Second
	}
	return err
}

func decodeAnswer(status int, text []byte, out any) error {
	if status < 200 || status > 299 {
		refusal := &Refusal{}
		if json.Unmarshal(text, refusal) != nil || refusal.Title == "" && refusal.Code == "" {
			return fmt.Errorf("the API answered %d: %.200q", status, text)
		}
		refusal.Status = status
		return refusal
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the API's answer cannot be read: %w", err)
	}
	return nil
}

// unwrapURL drops the method and address that net/http puts before its errors; the message has them.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
