package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
)

// DeadLetter is a message that never became an order.
type DeadLetter struct {
	ID         int64  `json:"id"`
	OrderID    string `json:"order_id,omitempty"`
	Topic      string `json:"topic"`
	Reason     string `json:"reason"`
	Body       string `json:"body"` // in a list: its beginning
	BodyBase64 string `json:"body_base64,omitempty"`
	CreatedAt  int64  `json:"created_at"`
	SettledAt  int64  `json:"settled_at,omitempty"`

	// Of one letter by itself: what its ticket proves, or why it proves nothing, and the state of the
	// order with this id in the ledger.
	Order *struct {
		Order    string `json:"order"`
		Sale     string `json:"sale"`
		User     string `json:"user"`
		Quantity int64  `json:"quantity"`
		Slot     int64  `json:"slot"`
	} `json:"order,omitempty"`
	Refused    string `json:"refused,omitempty"`
	OrderState string `json:"order_state,omitempty"`
}

const lettersPath = "/api/admin/dead-letters"

// DeadLetters lists the letters beyond after that nobody has settled, ascending, at most limit (1 to
// 200), and how many wait in the queue to be listed (-1: it does not say).
func (a *API) DeadLetters(ctx context.Context, after int64, limit int) (letters []DeadLetter, waiting int, err error) {
	var list struct {
		DeadLetters []DeadLetter `json:"dead_letters"`
		Waiting     int          `json:"waiting"`
	}
	query := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	err = a.Call(ctx, http.MethodGet, lettersPath+"?"+query.Encode(), nil, &list)
	return list.DeadLetters, list.Waiting, err
}

// DeadLetter reads one letter whole, settled or not.
func (a *API) DeadLetter(ctx context.Context, id int64) (letter DeadLetter, err error) {
	err = a.Call(ctx, http.MethodGet, letterPath(id), nil, &letter)
	return letter, err
}

func letterPath(id int64) string { return lettersPath + "/" + strconv.FormatInt(id, 10) }

// SettleDeadLetter replays or discards a letter, and says what became of it: replayed, rejected, dropped
// or settled (before). Repeating it is harmless.
func (a *API) SettleDeadLetter(ctx context.Context, id int64, action string) (result string, err error) {
	var done struct {
		Result string `json:"result"`
	}
	err = a.Call(ctx, http.MethodPost, letterPath(id)+"/"+action, struct{}{}, &done)
	return done.Result, err
}

// WriteDeadLetters writes letters as a table for people.
func WriteDeadLetters(w io.Writer, letters []DeadLetter, waiting int) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "LETTER\tSINCE\tTOPIC\tORDER\tREASON")
	for _, l := range letters {
		fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s\n", l.ID, moment(l.CreatedAt), plainText(l.Topic), or(l.OrderID, "-"), plainText(l.Reason))
	}
	if waiting > 0 {
		fmt.Fprintf(out, "and %d in the queue, which the consumer has not listed yet\n", waiting)
	}
	return out.Flush()
}

// WriteDeadLetter writes one letter for people.
func WriteDeadLetter(w io.Writer, l DeadLetter) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "letter\t%d of topic %s, %s\n", l.ID, plainText(l.Topic), moment(l.CreatedAt))
	fmt.Fprintf(out, "reason\t%s\n", plainText(l.Reason))
	if l.SettledAt != 0 {
		fmt.Fprintf(out, "settled\t%s\n", moment(l.SettledAt))
	}
	if o := l.Order; o != nil {
		fmt.Fprintf(out, "order\t%s of user %s in sale %s: %d units, slot %d\n", o.Order, plainText(o.User), o.Sale, o.Quantity, o.Slot)
		fmt.Fprintf(out, "ledger\t%s\n", or(l.OrderState, "has no such order: discarding rejects it and gives the units back"))
	} else {
		fmt.Fprintf(out, "order\tnone is proved (%s): discarding just drops it\n", plainText(l.Refused))
	}
	fmt.Fprintf(out, "body\t%s\n", plainText(l.Body))
	return out.Flush()
}
