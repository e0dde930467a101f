package crowd

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/valyala/fasthttp"
)

// read takes what the API promises from a response: an order id with every 202, a code with every
// refusal, the same in body and header, and Retry-After with every 429 and 503.
func (a *Answer) read(response *fasthttp.Response) error {
	a.Status = response.StatusCode()
	var body struct {
		OrderID string `json:"order_id"`
		Status  any    `json:"status"`
		Code    string `json:"code"`
		Ticket  string `json:"ticket"`
	}
	if err := json.Unmarshal(response.Body(), &body); err != nil {
		return fmt.Errorf("%w: status %d, %.200q", errBody, a.Status, response.Body())
	}
	a.Code, a.OrderID, a.Ticket = body.Code, body.OrderID, body.Ticket
	if a.Accepted() {
		if a.OrderID == "" || body.Status != "queued" {
			return fmt.Errorf("%w: 202 with %.200q", errBody, response.Body())
		}
		return nil
	}
	if a.Code == "" || a.Code != string(response.Header.Peek("Headgate-Code")) {
		return fmt.Errorf("%w: status %d, code %q in the body and %q in the header", errBody, a.Status, a.Code, response.Header.Peek("Headgate-Code"))
	}
	if a.Status == fasthttp.StatusTooManyRequests || a.Status == fasthttp.StatusServiceUnavailable {
		seconds, err := strconv.Atoi(string(response.Header.Peek("Retry-After")))
		if err != nil || seconds < 1 {
			return fmt.Errorf("%w: %d %s with Retry-After %q", errBody, a.Status, a.Code, response.Header.Peek("Retry-After"))
		}
		a.RetryAfter = seconds
	}
	return nil
}
