package backend

import (
	"context"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/backend/repair"
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
	ctx, done, err := s.beginAudit(ctx, in.Sale)
	if err != nil {
		return nil, err
	}
	defer done()
	report := audit.Run(ctx, s.counter, s.store, s.depth, audit.Options{Sale: in.Sale, Grace: s.config.Sales.AuditGrace})
	return &auditOutput{CacheControl: "no-store", Body: report}, nil
}

// beginAudit takes the one place for audits and repairs; done gives it back.
func (s *Server) beginAudit(ctx context.Context, saleID string) (_ context.Context, done func(), err error) {
	select {
	case s.auditing <- struct{}{}:
	default:
		return nil, nil, problem.New(problem.Overloaded, "Another audit is running. Try again shortly.")
	}
	if _, err := s.store.SaleByID(ctx, saleID); err != nil {
		<-s.auditing
		return nil, nil, ledgerFailed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	return ctx, func() { cancel(); <-s.auditing }, nil
}

func (s *Server) depth(ctx context.Context) (queue.Depth, error) { return s.queue.Depth(ctx, Topic) }

type repairInput struct {
	Sale string `path:"sale" maxLength:"64"`
	Body struct {
		Apply    bool `json:"apply,omitempty" doc:"False: say what would be done."`
		Payments bool `json:"payments,omitempty" doc:"Ask the payment provider about every unpaid order: the ledger may have lost payments."`
	}
}

type repairOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         repair.Outcome
}

// repairSale brings one sale into agreement again after counter or ledger lost data, or says how. What
// takes longer than an audit may is done by `headgate audit --repair`.
func (s *Server) repairSale(ctx context.Context, in *repairInput) (*repairOutput, error) {
	operator := identityOf(ctx).User
	ctx, done, err := s.beginAudit(ctx, in.Sale)
	if err != nil {
		return nil, err
	}
	defer done()
	shards := make(map[string]int, len(s.config.Counter.Shards))
	for _, shard := range s.config.Counter.Shards {
		shards[shard.Name] = shard.Number
	}
	parts := repair.Parts{Counter: s.counter, Ledger: s.store, Depth: s.depth, Tickets: s.tickets, Shards: shards, Provider: s.provider, Log: s.log.With("operator", operator)}
	report := repair.Run(ctx, parts, repair.Options{Sale: in.Sale, Apply: in.Body.Apply, Payments: in.Body.Payments})
	return &repairOutput{CacheControl: "no-store", Body: report}, nil
}
