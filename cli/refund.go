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

// Refund is money that came for an order which no longer waited for it, on its way back.
type Refund struct {
	ID          int64  `json:"id"`
	OrderID     string `json:"order_id"`
	Provider    string `json:"provider"`
	Reference   string `json:"reference"`
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency"`
	Reason      string `json:"reason"`
	State       string `json:"state"` // due, done or parked: the provider refuses
	Attempts    int64  `json:"attempts"`
	Answer      string `json:"answer,omitempty"`
	CreatedAt   int64  `json:"created_at"`
	UpdatedAt   int64  `json:"updated_at"`
}

// The states of a refund that commands speak of.
const (
	RefundDue    = "due"    // asked for
	RefundParked = "parked" // the provider refuses
)

const (
	refundsPath = "/api/admin/refunds"
	refundPage  = 200
)

// Refunds lists refunds in a state, or all of them when it is empty, ascending.
func (a *API) Refunds(ctx context.Context, state string) (all []Refund, err error) {
	all = []Refund{}
	for after := int64(0); ; {
		query := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(refundPage)}}
		if state != "" {
			query.Set("state", state)
		}
		var page struct {
			Refunds []Refund `json:"refunds"`
			Next    int64    `json:"next"`
		}
		if err := a.Call(ctx, http.MethodGet, refundsPath+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Refunds...)
		if after = page.Next; after == 0 {
			return all, nil
		}
	}
}

// RetryRefund has a parked refund asked for again. It gives the refund as it is then, and whether it was parked.
func (a *API) RetryRefund(ctx context.Context, id int64) (Refund, bool, error) {
	return a.changeRefund(ctx, id, "retry", struct{}{})
}

// SettleRefund notes how a parked refund's money was given back by another way; it answers as RetryRefund does.
func (a *API) SettleRefund(ctx context.Context, id int64, note string) (Refund, bool, error) {
	return a.changeRefund(ctx, id, "settle", map[string]string{"note": note})
}

func (a *API) changeRefund(ctx context.Context, id int64, action string, in any) (Refund, bool, error) {
	var done struct {
		Refund
		Changed bool `json:"changed"`
	}
	err := a.Call(ctx, http.MethodPost, fmt.Sprintf("%s/%d/%s", refundsPath, id, action), in, &done)
	return done.Refund, done.Changed, err
}

// WriteRefunds writes refunds as a table for people.
func WriteRefunds(w io.Writer, refunds []Refund) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "REFUND\tSTATE\tSINCE\tORDER\tPAYMENT\tAMOUNT\tASKED\tREASON\tANSWER")
	for _, r := range refunds {
		fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%s %s\t%d %s\t%d\t%s\t%s\n", r.ID, r.State, moment(r.CreatedAt), r.OrderID, plainText(r.Provider), plainText(r.Reference),
			r.AmountMinor, plainText(r.Currency), r.Attempts, plainText(r.Reason), or(plainText(r.Answer), "-"))
	}
	return out.Flush()
}
