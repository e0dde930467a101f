package interceptor

import (
	"slices"
	"time"

	"headgate.example/interceptor/route"
	"headgate.example/lib/config"
)

// The kinds of Route.
const (
	KindReserve  = "reserve"   // an order: two phases around the upstream; the path needs {sale}
	KindProxy    = "proxy"     // passed to the upstream
	KindLongPoll = "long_poll" // passed to the upstream, which may hold it for long; own connections
)

// The values of Route.Auth.
const (
	AuthRequired = "required" // without a valid token: 401
	AuthOptional = "optional" // a valid token is passed on, any other is ignored
	AuthNone     = "none"     // tokens are not looked at
)

// Bounds of routes.
const (
	MaxRoutes       = 200
	MaxBodyBytes    = 1 << 20
	DefaultBody     = 16 << 10 // bytes
	MaxRouteTimeout = 5 * time.Minute
)

// Route is one entry of the route table.
type Route struct {
	// Name is the route's label in metrics and logs: a-z, 0-9 and _.
	Name string `yaml:"name"`
	// Path is a pattern: /api/sales/{sale}/orders, or /assets/* for everything below.
	Path    string   `yaml:"path"`
	Methods []string `yaml:"methods"` // HEAD comes with GET
	// Kind is reserve, proxy or long_poll. Default proxy.
	Kind     string `yaml:"kind"`
	Upstream string `yaml:"upstream"`
	// Auth is required, optional or none. Default required.
	Auth string `yaml:"auth"`
	// Roles: a user needs one of them; empty admits every user.
	Roles []string `yaml:"roles"`
	// Timeout bounds the upstream's answer. Default: the upstream's.
	Timeout time.Duration `yaml:"timeout"`
	// MaxBodyBytes bounds the request body; more is answered 413. Default 16384.
	MaxBodyBytes int `yaml:"max_body_bytes"`
	// ForwardHeaders are request headers passed on besides the usual ones, such as a payment
	// provider's signature.
	ForwardHeaders []string `yaml:"forward_headers"`
	// CORS admits scripts on pages of other origins. Default: none.
	CORS *CORS `yaml:"cors"`
	// Order says how an order is written, on a route of kind reserve.
	Order OrderForm `yaml:"order"`
	// Fallback is answered when the upstream cannot. Default: a problem with `unavailable` or `overloaded`.
	Fallback *Fallback `yaml:"fallback"`
	// Bucket bounds the requests on this route, of all users together: beyond it `overloaded`. Default:
	// none.
	Bucket *BucketRule `yaml:"bucket"`
	// AddressBucket bounds the requests of one client address on this route, besides
	// limits.address_bucket: beyond it `rate_limited`. Default: none.
	AddressBucket *BucketRule `yaml:"address_bucket"`
	// Queue lets the requests on this route wait for their turn, in order. Not for long polls. Default:
	// none.
	Queue *QueueRule `yaml:"queue"`
}

// longPollTimeout leaves room beyond the longest wait that a client may ask for.
const longPollTimeout = 40 * time.Second

// DefaultRoutes is the route table for the backend that comes with Headgate.
func DefaultRoutes() []Route {
	get, post := []string{"GET"}, []string{"POST"}
	all := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	r := func(name, path string, methods []string, auth string) Route {
		return Route{Name: name, Path: path, Methods: methods, Kind: KindProxy, Upstream: "backend", Auth: auth, MaxBodyBytes: DefaultBody}
	}
	reserve := r("reserve", "/api/sales/{sale}/orders", post, AuthRequired)
	reserve.Kind = KindReserve
	order := r("order", "/api/orders/{order}", get, AuthRequired)
	order.Kind, order.Timeout = KindLongPoll, longPollTimeout
	register, login := r("register", "/api/register", post, AuthNone), r("login", "/api/login", post, AuthNone)
	register.AddressBucket, login.AddressBucket = loginBucket(), loginBucket()
	admin := r("admin", "/api/admin/*", all, AuthRequired)
	admin.Roles = []string{"admin"}
	admin.Timeout = 30 * time.Second // an audit reads whole sales
	return []Route{
		reserve,
		r("sales", "/api/sales", get, AuthOptional),
		r("sale", "/api/sales/{sale}", get, AuthOptional),
		order,
		r("orders", "/api/orders", get, AuthRequired),
		r("order_action", "/api/orders/{order}/*", post, AuthRequired),
		register,
		login,
		r("logout", "/api/logout", post, AuthNone),
		r("logout_everywhere", "/api/logout/everywhere", post, AuthRequired),
		r("password", "/api/password", post, AuthRequired),
		r("payment_notify", "/api/payments/{provider}/notify", post, AuthNone),
		r("sandbox", "/sandbox/*", []string{"GET", "POST"}, AuthNone),
		admin,
		r("openapi", "/openapi.json", get, AuthNone),
		r("page", "/", get, AuthNone),
		r("assets", "/assets/*", get, AuthNone),
	}
}

func (r *Route) validate(p *config.Problems, upstreams map[string]bool) {
	if !plainName(r.Name) {
		p.Addf("name", "must be 1 to 40 of a-z, 0-9 and _, is %q", r.Name)
	}
	pattern, err := route.ParsePattern(r.Path)
	if err != nil {
		p.Addf("path", "%v; is %q", err, r.Path)
	}
	switch r.kind() {
	case KindProxy, KindLongPoll:
	case KindReserve:
		if err == nil && pattern.Parameter() != "sale" {
			p.Addf("path", "a route of kind reserve needs the segment {sale}, is %q", r.Path)
		}
		if r.auth() != AuthRequired {
			p.Addf("auth", "a route of kind reserve needs %q", AuthRequired)
		}
		if slices.Contains(r.Methods, "GET") || slices.Contains(r.Methods, "DELETE") {
			p.Addf("methods", "a route of kind reserve has POST, PUT or PATCH: what follows a link must not buy")
		}
	default:
		p.Addf("kind", "must be %s, %s or %s, is %q", KindReserve, KindProxy, KindLongPoll, r.Kind)
	}
	r.validateMethods(p)
	if r.CORS != nil {
		r.CORS.validate(p.In("cors"))
	}
	switch r.auth() {
	case AuthRequired:
	case AuthOptional, AuthNone:
		if len(r.Roles) > 0 {
			p.Addf("roles", "need auth %q", AuthRequired)
		}
	default:
		p.Addf("auth", "must be %s, %s or %s, is %q", AuthRequired, AuthOptional, AuthNone, r.Auth)
	}
	if !upstreams[r.Upstream] {
		p.Addf("upstream", "%q is not the name of one of the upstreams", r.Upstream)
	}
	if r.Timeout != 0 && (r.Timeout < 10*time.Millisecond || r.Timeout > MaxRouteTimeout) {
		p.Addf("timeout", "must be 10ms to %s, or left out, is %s", MaxRouteTimeout, r.Timeout)
	}
	if r.MaxBodyBytes < 0 || r.MaxBodyBytes > MaxBodyBytes {
		p.Addf("max_body_bytes", "must be 1 to %d, or left out, is %d", MaxBodyBytes, r.MaxBodyBytes)
	}
	r.Order.validate(p.In("order"), r.kind())
	if r.Fallback != nil {
		r.Fallback.validate(p.In("fallback"), r, upstreams)
	}
	if r.Bucket != nil {
		r.Bucket.validate(p.In("bucket"))
	}
	if r.AddressBucket != nil {
		r.AddressBucket.validate(p.In("address_bucket"))
	}
	if r.Queue != nil {
		r.Queue.validate(p.In("queue"))
		if r.kind() == KindLongPoll {
			p.Addf("queue", "a route of kind %s cannot have one: each answer is waited for as it is", KindLongPoll)
		}
	}
	for i, name := range r.ForwardHeaders {
		if !forwardable(name) {
			p.In("forward_headers").Addf(index(i), "%q is not a header that may be passed on", name)
		}
	}
}

func (r *Route) validateMethods(p *config.Problems) {
	if len(r.Methods) == 0 {
		p.Addf("methods", "must name at least one method")
	}
	for i, m := range r.Methods {
		switch m {
		case "GET", "POST", "PUT", "PATCH", "DELETE":
		default:
			p.In("methods").Addf(index(i), "must be GET, POST, PUT, PATCH or DELETE, is %q", m)
		}
	}
}

func (r *Route) kind() string {
	if r.Kind == "" {
		return KindProxy
	}
	return r.Kind
}

func (r *Route) auth() string {
	if r.Auth == "" {
		return AuthRequired
	}
	return r.Auth
}

func (r *Route) maxBody() int {
	if r.MaxBodyBytes == 0 {
		return DefaultBody
	}
	return r.MaxBodyBytes
}
