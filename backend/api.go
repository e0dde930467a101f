package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"headgate.example/backend/web"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/problem"
	"headgate.example/lib/service"
)

// access is who may call an operation.
type access int

const (
	anyone access = iota
	buyers        // signed in
	admins        // with the role admin
)

// routes builds the mux: the API, its description, and the page.
func (s *Server) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Headgate", service.Version())
	cfg.Info.Description = "A flash sale's shop behind the edge. Every refusal is application/problem+json with a stable code. " +
		"Times are milliseconds since 1970."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", "" // the document is served below; no page of foreign scripts
	cfg.CreateHooks = nil                                       // no links to schemas in answers
	cfg.Transformers = []huma.Transformer{s.asProblem}
	api := humago.New(mux, cfg)
	api.UseMiddleware(withStatus)
	b := &builder{api: api, problem: problemSchema(api)}
	b.describeAccess()
	s.registerAccounts(b)
	s.registerShop(b)
	s.registerAdmin(b)
	s.registerPayments(b)

	document, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	mux.HandleFunc("GET "+HealthPath, s.serveHealth)
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = w.Write(document) // the caller left: nothing to do
	})
	site, err := web.New()
	if err != nil {
		return nil, err
	}
	notFound := s.notFound(mux)
	site.Register(mux, notFound)
	if s.config.Payment.Provider == payment.Sandbox {
		site.RegisterSandbox(mux, sandbox.PagePath)
	}
	mux.HandleFunc("/", notFound)
	return mux, nil
}

func (s *Server) registerAccounts(b *builder) {
	a := s.accounts
	add(b, anyone, "register", http.MethodPost, "/api/register", "Make an account and sign in", 201, a.register)
	add(b, anyone, "login", http.MethodPost, "/api/login", "Sign in", 200, a.login)
	add(b, anyone, "logout", http.MethodPost, "/api/logout", "Make the browser forget its session", 204, a.logout)
	add(b, buyers, "logout-everywhere", http.MethodPost, "/api/logout/everywhere", "Void every token of the caller", 204, a.logoutEverywhere)
	add(b, buyers, "change-password", http.MethodPost, "/api/password", "Set another password, sign out everywhere, and sign in", 200, a.changePassword)
}

func (s *Server) registerShop(b *builder) {
	add(b, anyone, "list-sales", http.MethodGet, "/api/sales", "Every sale", 200, s.listSales)
	add(b, anyone, "get-sale", http.MethodGet, "/api/sales/{sale}", "One sale", 200, s.getSale)
	add(b, anyone, "take-order", http.MethodPost, "/api/sales/{sale}/orders",
		"Take an order for which the edge has a hold; buyers call the edge, which answers 202", 200, s.takeOrder)
	add(b, buyers, "list-orders", http.MethodGet, "/api/orders", "The buyer's own orders", 200, s.listOrders)
	add(b, buyers, "get-order", http.MethodGet, "/api/orders/{order}", "One order of the buyer, by long poll if asked", 200, s.getOrder)
	add(b, buyers, "cancel-order", http.MethodPost, "/api/orders/{order}/cancel", "Cancel an unpaid order", 200, s.cancelOrder)
}

func (s *Server) registerAdmin(b *builder) {
	add(b, admins, "admin-list-sales", http.MethodGet, "/api/admin/sales", "Every sale, with the counter's figures", 200, s.adminListSales)
	add(b, admins, "admin-create-sale", http.MethodPost, "/api/admin/sales", "Write a draft", 201, s.createSale)
	add(b, admins, "admin-get-sale", http.MethodGet, "/api/admin/sales/{sale}", "One sale, with the counter's figures", 200, s.adminGetSale)
	add(b, admins, "admin-open-sale", http.MethodPost, "/api/admin/sales/{sale}/open", "Open a draft; 202: the counter will be told", 200, s.openSale)
	add(b, admins, "admin-pause-sale", http.MethodPost, "/api/admin/sales/{sale}/pause", "Stop selling; 202: the counter will be told", 200, s.pauseSale)
	add(b, admins, "admin-resume-sale", http.MethodPost, "/api/admin/sales/{sale}/resume", "Sell again; 202: the counter will be told", 200, s.resumeSale)
	add(b, admins, "admin-close-sale", http.MethodPost, "/api/admin/sales/{sale}/close", "End a sale for good; 202: the counter will be told", 200, s.closeSale)
	add(b, admins, "admin-set-stock", http.MethodPut, "/api/admin/sales/{sale}/stock", "Change the stock; 202: the counter will be told", 200, s.setStock)
	add(b, admins, "admin-audit-sale", http.MethodGet, "/api/admin/sales/{sale}/audit", "Compare counter and ledger", 200, s.auditSale)
	add(b, admins, "admin-repair-sale", http.MethodPost, "/api/admin/sales/{sale}/repair", "Bring counter and ledger into agreement after one lost data, or say how", 200, s.repairSale)
	add(b, admins, "admin-list-bans", http.MethodGet, "/api/admin/bans", "Every ban that stands", 200, s.listBans)
	add(b, admins, "admin-add-ban", http.MethodPost, "/api/admin/bans", "Ban a user, an address or a network", 201, s.addBan)
	add(b, admins, "admin-remove-ban", http.MethodDelete, "/api/admin/bans/{kind}/{value}", "Take a ban back", 204, s.removeBan)
	add(b, admins, "admin-remove-ban-by-query", http.MethodDelete, "/api/admin/bans", "Take a ban back, for networks too", 204, s.removeBanByQuery)
	add(b, admins, "admin-revoke-user", http.MethodPost, "/api/admin/users/{user}/revoke", "Sign a user out everywhere", 200, s.revokeUser)
	add(b, admins, "admin-revoke", http.MethodPost, "/api/admin/revocations", "Sign a user out everywhere, whatever his id", 200, s.revoke)
	s.registerDeadLetters(b)
}

// builder registers operations alike.
type builder struct {
	api     huma.API
	problem *huma.Response
}

// add registers an operation. Who may call it is checked before the input is, so that strangers learn
// nothing of it.
func add[I, O any](b *builder, who access, id, method, path, summary string, status int, handle func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status,
		MaxBodyBytes:    maxBodyBytes,
		BodyReadTimeout: -1, // the body is read before: see handler
		Responses:       map[string]*huma.Response{"default": b.problem},
		Tags:            []string{tagOf(path)},
	}
	if strings.Contains(summary, "202") {
		op.Responses["202"] = &huma.Response{Description: "Written down; the counter will be told."}
	}
	if who != anyone {
		op.Security = []map[string][]string{{"token": {}}, {"cookie": {}}}
		op.Middlewares = huma.Middlewares{b.check(who)}
	}
	huma.Register(b.api, op, handle)
}

func tagOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/api/admin/"):
		return "operator"
	case strings.HasPrefix(path, "/api/orders"), strings.HasPrefix(path, "/api/sales"), strings.HasPrefix(path, "/api/payments/"):
		return "shop"
	case strings.HasPrefix(path, "/sandbox/"):
		return "sandbox"
	}
	return "account"
}

// check refuses whoever may not call an operation.
func (b *builder) check(who access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		_, err := signedIn(ctx.Context())
		if who == admins {
			_, err = admin(ctx.Context())
		}
		if err != nil {
			_ = huma.WriteErr(b.api, ctx, problemOf(err).Status, problemOf(err).Detail) // the transformer makes it a problem
			return
		}
		next(ctx)
	}
}

// describeAccess names the two ways to be signed in.
func (b *builder) describeAccess() {
	b.api.OpenAPI().Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":  {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "At the edge, which vouches for it here."},
		"cookie": {Type: "apiKey", In: "cookie", Name: "headgate_token", Description: "At the edge; writes need a same-origin Origin."},
	}
}

// problemSchema describes every refusal.
func problemSchema(api huma.API) *huma.Response {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problemDocument](), true, "Problem")
	return &huma.Response{
		Description: "A refusal.",
		Content:     map[string]*huma.MediaType{problem.MediaType: {Schema: schema}},
	}
}

// problemDocument is problem.Problem as its JSON shows it.
type problemDocument struct {
	Type       string                 `json:"type" format:"uri"`
	Title      string                 `json:"title"`
	Status     int                    `json:"status"`
	Code       string                 `json:"code" doc:"Stable: decide by it."`
	Detail     string                 `json:"detail,omitempty"`
	Instance   string                 `json:"instance,omitempty" doc:"The request's id."`
	OrderID    string                 `json:"order_id,omitempty"`
	Ticket     string                 `json:"ticket,omitempty"`
	OpensAt    int64                  `json:"opens_at,omitempty"`
	RetryAfter int                    `json:"retry_after,omitempty" doc:"Seconds."`
	Held       *int64                 `json:"held,omitempty"`
	Left       *int64                 `json:"left,omitempty"`
	Errors     []problem.FieldProblem `json:"errors,omitempty"`
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
