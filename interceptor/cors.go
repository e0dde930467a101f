package interceptor

import (
	"bytes"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/problem"
)

// Bounds of CORS.
const (
	MaxOrigins    = 50
	MaxCORSMaxAge = 24 * time.Hour
)

// CORS admits scripts on pages of other origins to a route. Without it browsers keep them out: nothing of
// what an upstream says about it is passed on.
type CORS struct {
	// Origins are such as https://shop.example, or "*" alone for any, which Credentials exclude.
	Origins []string `yaml:"origins"`
	// Credentials admits requests with the session cookie, writes included. Default false: such scripts
	// use a token.
	Credentials bool `yaml:"credentials"`
	// MaxAge is how long a browser may keep the answer to its preflight. Default 10m.
	MaxAge time.Duration `yaml:"max_age"`
}

const defaultCORSMaxAge = 10 * time.Minute

func (c *CORS) validate(p *config.Problems) {
	if c.MaxAge == 0 {
		c.MaxAge = defaultCORSMaxAge
	}
	if c.MaxAge < time.Second || c.MaxAge > MaxCORSMaxAge {
		p.Addf("max_age", "must be 1s to %s, is %s", MaxCORSMaxAge, c.MaxAge)
	}
	if len(c.Origins) < 1 || len(c.Origins) > MaxOrigins {
		p.Addf("origins", "must name 1 to %d origins, names %d", MaxOrigins, len(c.Origins))
	}
	for i, origin := range c.Origins {
		at := p.In("origins")
		switch {
		case origin == "*" && c.Credentials:
			at.Addf(index(i), `"*" with credentials would let every page act for whoever is signed in: name the origins`)
		case origin == "*" && len(c.Origins) > 1:
			at.Addf(index(i), `"*" stands alone`)
		case origin != "*" && !isOrigin(origin):
			at.Addf(index(i), "must be such as https://shop.example, as browsers send it, is %q", origin)
		}
	}
}

// isOrigin accepts an origin in the one form in which browsers send it.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || text != u.Scheme+"://"+u.Host || text != strings.ToLower(text) {
		return false
	}
	port := u.Port()
	if strings.HasSuffix(u.Host, ":") || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		return false
	}
	if strings.HasPrefix(u.Host, "[") {
		_, err := netip.ParseAddr(u.Hostname())
		return err == nil
	}
	return true
}

// scriptHeaders are the request headers that scripts may set; exposedHeaders those of answers that they may
// read, besides what browsers always let them.
const (
	scriptHeaders  = "Authorization, Content-Type, Idempotency-Key, " + auth.HeaderTicket
	exposedHeaders = "Age, Etag, Location, Ratelimit, Ratelimit-Policy, Retry-After, " + headerOrderID + ", " + auth.HeaderCode + ", " + auth.HeaderRequestID
)

// crossOrigin is a route's CORS, ready for use.
type crossOrigin struct {
	any         bool
	origins     map[string]bool
	credentials bool
	methods     string
	headers     string
	maxAge      string
}

// newCrossOrigin prepares the CORS of a route; nil without any.
func newCrossOrigin(r *Route) *crossOrigin {
	if r.CORS == nil {
		return nil
	}
	c := &crossOrigin{origins: map[string]bool{}, credentials: r.CORS.Credentials, methods: strings.Join(r.Methods, ", "), headers: scriptHeaders,
		maxAge: strconv.Itoa(int(r.CORS.MaxAge / time.Second))}
	for _, origin := range r.CORS.Origins {
		c.any = c.any || origin == "*"
		c.origins[origin] = true
	}
	for _, name := range r.ForwardHeaders {
		c.headers += ", " + name
	}
	return c
}

func (c *crossOrigin) admits(origin []byte) bool {
	return c != nil && (c.any || c.origins[string(origin)])
}

// mayWrite reports whether a page of the origin may write with the session cookie.
func (c *crossOrigin) mayWrite(origin []byte) bool {
	return c != nil && c.credentials && c.origins[string(origin)]
}

// admit writes what lets a script on the origin have the answer.
func (c *crossOrigin) admit(resp *fasthttp.Response, origin []byte) {
	if c.any {
		resp.Header.Set("Access-Control-Allow-Origin", "*")
		return
	}
	resp.Header.SetBytesV("Access-Control-Allow-Origin", origin)
	if c.credentials {
		resp.Header.Set("Access-Control-Allow-Credentials", "true")
	}
}

// tellCrossOrigin marks the answer for a page of another origin. A cache must keep apart what it says to
// different ones.
func (x *exchange) tellCrossOrigin() {
	if x.route == nil || x.route.cors == nil || x.hop != nil {
		return
	}
	c, resp := x.route.cors, &x.ctx.Response
	if !c.any {
		resp.Header.Add("Vary", "Origin")
	}
	if origin := x.ctx.Request.Header.Peek("Origin"); len(origin) > 0 && c.admits(origin) {
		c.admit(resp, origin)
		resp.Header.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

var optionsMethod = []byte("OPTIONS")

// preflight answers a browser that asks whether a script may send a request, if that is what this is. Nothing
// of it leaves the node, and no token is asked for: browsers send none.
func (s *Server) preflight(x *exchange, path []byte) bool {
	header := &x.ctx.Request.Header
	wanted, origin := header.Peek("Access-Control-Request-Method"), header.Peek("Origin")
	if !bytes.Equal(header.Method(), optionsMethod) || len(wanted) == 0 || len(origin) == 0 {
		return false
	}
	found, _ := x.plan.table.Find(wanted, path)
	if found < 0 || x.plan.routes[found].cors == nil {
		return false
	}
	x.route = &x.plan.routes[found]
	c, resp := x.route.cors, &x.ctx.Response
	if !c.admits(origin) {
		return x.refuse(s, problem.Forbidden, "Origin: scripts of this origin are not admitted.")
	}
	resp.SetStatusCode(fasthttp.StatusNoContent)
	resp.Header.Set("Access-Control-Allow-Methods", c.methods)
	resp.Header.Set("Access-Control-Allow-Headers", c.headers)
	resp.Header.Set("Access-Control-Max-Age", c.maxAge)
	return true // tellCrossOrigin does the rest
}
