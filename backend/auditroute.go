package backend

import (
	"context"
	"strings"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
	"headgate.example/lib/store"
)

// auditTimeout bounds an audit that is asked for by HTTP; `headgate audit` has no such bound.
const auditTimeout = 20 * time.Second

type auditOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         audit.Report
}

// auditSale audits one sale. One audit runs at a time: it reads every order.
func (s *Server) auditSale(ctx context.Context, in *saleInput) (*auditOutput, error) {
	select {
	case s.auditing <- struct{}{}:
		defer func() { <-s.auditing }()
	default:
		return nil, problem.New(problem.Overloaded, "Another audit is running. Try again shortly.")
	}
	if _, err := s.store.SaleByID(ctx, in.Sale); err != nil {
		return nil, ledgerFailed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	depth := func(ctx context.Context) (queue.Depth, error) { return s.queue.Depth(ctx, Topic) }
	report := audit.Run(ctx, s.counter, s.store, depth, audit.Options{Sale: in.Sale, Grace: s.config.Sales.AuditGrace})
	return &auditOutput{CacheControl: "no-store", Body: report}, nil
}

type deadLettersInput struct {
	After int64 `query:"after" required:"false" minimum:"0" doc:"The next of the page before."`
	Limit int   `query:"limit" required:"false" default:"50" minimum:"1" maximum:"200"`
}

type deadLetterView struct {
	ID        int64  `json:"id"`
	OrderID   string `json:"order_id,omitempty" doc:"Absent when the message does not prove one."`
	Topic     string `json:"topic"`
	Reason    string `json:"reason"`
	Body      string `json:"body" doc:"The message's text, at most 4096 bytes."`
	CreatedAt int64  `json:"created_at"`
}

type deadLettersOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		DeadLetters []deadLetterView `json:"dead_letters"`
		Next        int64            `json:"next,omitempty"`
		Waiting     int              `json:"waiting" doc:"Dead letters that are still in the queue; -1 when it does not say."`
	}
}

const maxShownBody = 4096

func (s *Server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*deadLettersOutput, error) {
	limit := in.Limit
	if limit == 0 {
		limit = 50
	}
	letters, err := s.store.ListDeadLetters(ctx, in.After, limit+1)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &deadLettersOutput{CacheControl: "no-store"}
	if len(letters) > limit {
		letters = letters[:limit]
		out.Body.Next = letters[limit-1].ID
	}
	out.Body.DeadLetters = make([]deadLetterView, len(letters))
	for i := range letters {
		out.Body.DeadLetters[i] = viewOfLetter(&letters[i])
	}
	out.Body.Waiting = queue.UnknownCount
	if depth, err := s.queue.Depth(ctx, Topic); err == nil {
		out.Body.Waiting = depth.Dead
	}
	return out, nil
}

func viewOfLetter(l *store.DeadLetter) deadLetterView {
	v := deadLetterView{ID: l.ID, Topic: l.Topic, Reason: l.Reason, CreatedAt: millisOf(l.CreatedAt)}
	if l.OrderID != 0 {
		v.OrderID = l.OrderID.String()
	}
	v.Body = shown(l.Body)
	return v
}

// shown is a message for an operator's eyes: valid UTF-8, bounded.
func shown(body []byte) string {
	return strings.ToValidUTF8(string(body[:min(len(body), maxShownBody)]), "\uFFFD")
}
