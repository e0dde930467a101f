package backend

import (
	"context"
	"fmt"
	"net/http"

	"headgate.example/lib/store"
)

func (s *Server) registerRefunds(b *builder) {
	add(b, admins, "admin-list-refunds", http.MethodGet, "/api/admin/refunds", "Money that came too late and goes back", 200, s.listRefunds)
	add(b, admins, "admin-retry-refund", http.MethodPost, "/api/admin/refunds/{refund}/retry", "Ask the payment provider again for a refund that it refused", 200, s.retryRefund)
	add(b, admins, "admin-settle-refund", http.MethodPost, "/api/admin/refunds/{refund}/settle", "Note that the money of a refused refund was given back by another way", 200, s.settleRefund)
}

type refundsInput struct {
	State string `query:"state" required:"false" enum:"due,done,parked" doc:"Absent: all."`
	After int64  `query:"after" required:"false" minimum:"0" doc:"The next of the page before."`
	Limit int    `query:"limit" required:"false" default:"50" minimum:"1" maximum:"200"`
}

type refundView struct {
	ID          int64  `json:"id"`
	OrderID     string `json:"order_id"`
	Provider    string `json:"provider"`
	Reference   string `json:"reference" doc:"Of the payment."`
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency"`
	Reason      string `json:"reason"`
	State       string `json:"state" enum:"due,done,parked"`
	Attempts    int64  `json:"attempts"`
	Answer      string `json:"answer,omitempty"`
	CreatedAt   int64  `json:"created_at"`
	UpdatedAt   int64  `json:"updated_at"`
}

type refundsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Refunds []refundView `json:"refunds"`
		Next    int64        `json:"next,omitempty"`
	}
}

func viewOfRefund(r *store.Refund) refundView {
	return refundView{
		ID: r.ID, OrderID: r.OrderID.String(), Provider: r.Provider, Reference: r.Reference, AmountMinor: r.AmountMinor, Currency: r.Currency,
		Reason: r.Reason, State: r.State, Attempts: r.Attempts, Answer: r.Answer, CreatedAt: millisOf(r.CreatedAt), UpdatedAt: millisOf(r.UpdatedAt),
	}
}

func (s *Server) listRefunds(ctx context.Context, in *refundsInput) (*refundsOutput, error) {
	rows, err := s.store.ListRefunds(ctx, in.State, in.After, in.Limit+1)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &refundsOutput{CacheControl: "no-store"}
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		out.Body.Next = rows[in.Limit-1].ID
	}
	out.Body.Refunds = make([]refundView, len(rows))
	for i := range rows {
		out.Body.Refunds[i] = viewOfRefund(&rows[i])
	}
	return out, nil
}

type refundInput struct {
	Refund int64 `path:"refund" minimum:"1"`
}

type settleRefundInput struct {
	Refund int64 `path:"refund" minimum:"1"`
	Body   struct {
		Note string `json:"note" minLength:"1" maxLength:"200" doc:"How it was given back, such as the number of the transfer; at most 200 bytes."`
	}
}

type refundOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		refundView
		Changed bool `json:"changed" doc:"False: it was not parked, and is as it was."`
	}
}

// retryRefund lets the consumer ask again for a refund that the provider refused: what stood against it may have been
// mended, such as an account without money. Repeating it is harmless: the provider knows the refund by its id.
func (s *Server) retryRefund(ctx context.Context, in *refundInput) (*refundOutput, error) {
	r, changed, err := s.store.RetryRefund(ctx, in.Refund)
	return s.refundChanged(ctx, &r, changed, "retried", err)
}

// maxNoteBytes leaves a note room in the ledger's column, behind what marks it as an operator's.
const maxNoteBytes = 200

// settleRefund ends a refused refund that an operator has settled with the buyer by himself.
func (s *Server) settleRefund(ctx context.Context, in *settleRefundInput) (*refundOutput, error) {
	if len(in.Body.Note) > maxNoteBytes {
		return nil, invalid("note", fmt.Sprintf("must be at most %d bytes", maxNoteBytes))
	}
	r, changed, err := s.store.FinishRefund(ctx, in.Refund, "by an operator: "+in.Body.Note)
	return s.refundChanged(ctx, &r, changed, "settled by hand", err)
}

func (s *Server) refundChanged(ctx context.Context, r *store.Refund, changed bool, how string, err error) (*refundOutput, error) {
	if err != nil {
		return nil, ledgerFailed(err)
	}
	if changed {
		s.log.Info("a refused refund was "+how, "refund", r.ID, "order", r.OrderID, "reference", r.Reference, "amount_minor", r.AmountMinor, "operator", identityOf(ctx).User)
	}
	out := &refundOutput{CacheControl: "no-store"}
	out.Body.refundView, out.Body.Changed = viewOfRefund(r), changed
	return out, nil
}
