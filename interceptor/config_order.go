package interceptor

import (
	"strings"
	"time"

	"headgate.example/lib/config"
)

// The values of OrderForm.QuantityIn.
const (
	InBody  = "body"
	InQuery = "query"
	Always1 = "one" // every press orders one unit
)

// OrderForm says how the shop behind a route of kind reserve writes an order. The default is the form of
// the backend that comes with Headgate: no body, or {"quantity": n} and nothing else.
type OrderForm struct {
	// QuantityIn says where a buyer states how many units: body, query or one. Default body.
	QuantityIn string `yaml:"quantity_in"`
	// QuantityField is its name there. Default "quantity". Where it is left out, it is one unit.
	QuantityField string `yaml:"quantity_field"`
	// ShopForm: query and body are the shop's own, and are passed on as they came; a body is JSON or an
	// urlencoded form, and may hold any other fields. By default anything else than the quantity is
	// refused. Either way the shop goes by the ticket, whose quantity is the one that is reserved.
	ShopForm bool `yaml:"shop_form"`
	// ShopAnswer: once an order stands, the buyer gets what the shop answered, with the order's id in
	// Headgate-Order-Id. Otherwise, and when the order was known to stand without asking the shop, it is
	// 202 {"order_id","status":"queued"}. Default false.
	ShopAnswer bool `yaml:"shop_answer"`
}

// Fallback is what a route answers when its upstream was certainly not reached, or could not be read from.
type Fallback struct {
	// Upstream is asked instead. Not on routes of kind reserve: the shop that was sent an order is the
	// only one that knows of it.
	Upstream string `yaml:"upstream"`
	// Status of an answer that stands here; on routes of kind reserve 400 or more. Default: none, unless
	// Body is set, then 503.
	Status int `yaml:"status"`
	// ContentType of Body. Default application/json.
	ContentType string `yaml:"content_type"`
	// Body of the answer, at most MaxFallbackBytes.
	Body string `yaml:"body"`
	// RetryAfter is told with 429 and 503, at least 1s. Default: what is known, or 1s.
	RetryAfter time.Duration `yaml:"retry_after"`
}

// MaxFallbackBytes bounds the body of a Fallback.
const MaxFallbackBytes = 64 << 10

// in is QuantityIn with its default.
func (o *OrderForm) in() string {
	if o.QuantityIn == "" {
		return InBody
	}
	return o.QuantityIn
}

// field is QuantityField with its default.
func (o *OrderForm) field() string {
	if o.QuantityField == "" {
		return ownQuantity
	}
	return o.QuantityField
}

func (o *OrderForm) validate(p *config.Problems, kind string) {
	if *o != (OrderForm{}) && kind != KindReserve {
		p.Addf("", "is for routes of kind %s", KindReserve)
	}
	switch o.in() {
	case InBody:
	case InQuery, Always1:
		if !o.ShopForm {
			p.Addf("shop_form", "must be true where the quantity is not in the body: query and body are the shop's own")
		}
	default:
		p.Addf("quantity_in", "must be %s, %s or %s, is %q", InBody, InQuery, Always1, o.QuantityIn)
	}
	if name := o.field(); len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	}) {
		p.Addf("quantity_field", "must be 1 to 64 letters, digits, - _ and ., is %q", name)
	}
}

func (f *Fallback) validate(p *config.Problems, r *Route, upstreams map[string]bool) {
	static := f.Status != 0 || f.Body != "" || f.ContentType != "" || f.RetryAfter != 0
	switch {
	case f.Upstream == "" && !static:
		p.Addf("", "names neither an upstream nor an answer")
	case f.Upstream == "":
	case static:
		p.Addf("upstream", "cannot be combined with an answer")
	case r.kind() == KindReserve:
		p.Addf("upstream", "a route of kind %s cannot have another upstream: the shop that was sent an order is the only one that knows of it", KindReserve)
	case !upstreams[f.Upstream]:
		p.Addf("upstream", "%q is not the name of one of the upstreams", f.Upstream)
	case f.Upstream == r.Upstream:
		p.Addf("upstream", "is the route's own")
	}
	least := 200
	if r.kind() == KindReserve {
		least = 400
	}
	if f.Status != 0 && (f.Status < least || f.Status > 599) {
		p.Addf("status", "must be %d to 599, is %d", least, f.Status)
	}
	if len(f.Body) > MaxFallbackBytes {
		p.Addf("body", "must be at most %d bytes, has %d", MaxFallbackBytes, len(f.Body))
	}
	if len(f.ContentType) > 100 || strings.ContainsFunc(f.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		p.Addf("content_type", "must be a media type such as application/json, is %q", f.ContentType)
	}
	if f.RetryAfter < 0 || f.RetryAfter > time.Hour {
		p.Addf("retry_after", "must be 1s to 1h, or left out, is %s", f.RetryAfter)
	}
}
