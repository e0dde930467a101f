package backend

import (
	"context"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
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
