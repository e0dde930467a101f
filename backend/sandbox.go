package backend

import (
	"context"
	"errors"
	"net"
	"net/http"

	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/problem"
	"headgate.example/lib/store"
)

// registerSandbox serves what a provider would serve from its own machines: the pay page, and what it
// is told to do wrong. The page itself is a file of package web.
func (s *Server) registerSandbox(b *builder, box *sandbox.Sandbox) {
	add(b, anyone, "sandbox-payment", http.MethodGet, "/sandbox/payment", "What the sandbox's pay page shows", 200,
		func(ctx context.Context, in *sandboxInput) (*sandboxOutput, error) {
			row, err := box.Page(ctx, in.Reference, in.Proof)
			return sandboxAnswer(&row, err)
		})
	add(b, anyone, "sandbox-pay", http.MethodPost, sandbox.PagePath, "Pay, on the sandbox's page", 200,
		func(ctx context.Context, in *sandboxInput) (*sandboxOutput, error) {
			row, err := box.Pay(ctx, in.Reference, in.Proof)
			return sandboxAnswer(&row, err)
		})
	add(b, admins, "admin-get-sandbox", http.MethodGet, "/api/admin/payments/sandbox", "What the sandbox does wrong", 200,
		func(ctx context.Context, _ *struct{}) (*behaviourOutput, error) {
			behaviour, err := box.Behaviour(ctx)
			if err != nil {
				return nil, ledgerFailed(err)
			}
			return &behaviourOutput{CacheControl: "no-store", Body: behaviour}, nil
		})
	add(b, admins, "admin-set-sandbox", http.MethodPut, "/api/admin/payments/sandbox", "Tell the sandbox what to do wrong", 200,
		func(ctx context.Context, in *behaviourInput) (*behaviourOutput, error) {
			if err := box.SetBehaviour(ctx, in.Body); err != nil {
				return nil, ledgerFailed(err)
			}
			who, _ := admin(ctx)
			s.log.Info("the sandbox was told how to behave", "behaviour", in.Body, "by", who.User)
			return &behaviourOutput{CacheControl: "no-store", Body: in.Body}, nil
		})
}

type sandboxInput struct {
	Reference string `query:"reference" minLength:"1" maxLength:"128"`
	Proof     string `query:"proof" minLength:"1" maxLength:"200" doc:"As the page's address has it."`
}

type sandboxOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		OrderID     string `json:"order_id"`
		State       string `json:"state" enum:"open,paid,closed"`
		AmountMinor int64  `json:"amount_minor"`
		Currency    string `json:"currency"`
		ExpiresAt   int64  `json:"expires_at"`
	}
}

func sandboxAnswer(row *store.SandboxPayment, err error) (*sandboxOutput, error) {
	switch {
	case errors.Is(err, sandbox.ErrPage):
		return nil, problem.New(problem.Forbidden, "This is not the address of a pay page.").Because(err)
	case errors.Is(err, sandbox.ErrClosed):
		return nil, problem.New(problem.Conflict, "This payment has expired. Nothing was paid.").Because(err)
	case err != nil:
		return nil, ledgerFailed(err)
	}
	out := &sandboxOutput{CacheControl: "no-store"}
	out.Body.OrderID, out.Body.State, out.Body.AmountMinor = row.OrderID.String(), row.State, row.AmountMinor
	out.Body.Currency, out.Body.ExpiresAt = row.Currency, millisOf(row.ExpiresAt)
	return out, nil
}

type behaviourInput struct {
	Body sandbox.Behaviour
}

type behaviourOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         sandbox.Behaviour
}

// loopbackOf turns an address to listen on into one to connect to from this machine.
func loopbackOf(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
