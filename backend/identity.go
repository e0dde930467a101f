package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// RoleAdmin may use the operator's routes.
const RoleAdmin = "admin"

// Identity is who a request is for, as an edge has verified it. The zero value is nobody.
type Identity struct {
	User    string
	Name    string
	Roles   []string
	Address netip.Addr // that the edge saw; not covered by its signature, so that nothing may be granted by it

	unverified bool // somebody vouched, with a signature that is not valid: see identify
}

type identityKey struct{}

// identityOf is the identity of a request's context; the zero value when nobody is signed in.
func identityOf(ctx context.Context) Identity {
	who, _ := ctx.Value(identityKey{}).(Identity)
	return who
}

// signedIn is the identity, or the refusal of a request that has none.
func signedIn(ctx context.Context) (Identity, error) {
	who := identityOf(ctx)
	switch {
	case who.unverified:
		return who, problem.New(problem.Unavailable, "The shop cannot verify who is asking at the moment. Try again shortly.")
	case who.User == "":
		return who, problem.New(problem.Unauthenticated, "Sign in first.")
	}
	return who, nil
}

// admin is the identity, when it has the role that the operator's routes need.
func admin(ctx context.Context) (Identity, error) {
	who, err := signedIn(ctx)
	if err != nil {
		return who, err
	}
	if !slices.Contains(who.Roles, RoleAdmin) {
		return who, problem.New(problem.Forbidden, "This needs the role admin.")
	}
	return who, nil
}

// identify gives a request the identity that its hop signature vouches for. Headers without a
// signature are worth nothing: the request goes on as nobody's. With one that is not valid it does so,
// too, but where an identity is needed it is told unavailable, not to sign in: an edge has verified the
// buyer, and it is the deployment that is at fault. body is the whole body.
func (s *Server) identify(r *http.Request, body []byte) *http.Request {
	signature := r.Header.Get(auth.HeaderHop)
	if signature == "" {
		return r
	}
	hops, _ := strconv.Atoi(r.Header.Get(auth.HeaderHops)) // absent or broken: 0, which then must be what was signed
	hop := auth.Hop{
		Method: r.Method, Path: r.RequestURI, Body: body,
		User: r.Header.Get(auth.HeaderUser), Name: r.Header.Get(auth.HeaderName), Roles: r.Header.Get(auth.HeaderRoles),
		From: r.Header.Get(auth.HeaderFrom), Hops: hops,
	}
	if err := s.hops.VerifyHop(signature, hop, s.now()); err != nil {
		s.metrics.badHops.Inc()
		s.complainOfHop(err, r)
		return r.WithContext(context.WithValue(r.Context(), identityKey{}, Identity{unverified: true}))
	}
	if hop.User == "" || sale.CheckUser(hop.User) != nil {
		return r
	}
	who := Identity{User: hop.User, Name: hop.Name}
	if address, err := netip.ParseAddr(r.Header.Get("X-Forwarded-For")); err == nil {
		who.Address = address.Unmap()
	}
	for role := range strings.SplitSeq(hop.Roles, ",") {
		if role = strings.TrimSpace(role); role != "" {
			who.Roles = append(who.Roles, role)
		}
	}
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, who))
}

// hopComplaintEvery is the least time between two complaints of bad hop signatures; the metric
// bad_hops_total counts all of them.
const hopComplaintEvery = time.Minute

// complainOfHop tells the operator, now and then, why signatures are refused and what puts it right.
func (s *Server) complainOfHop(cause error, r *http.Request) {
	now, last := s.now().UnixMilli(), s.hopComplaint.Load()
	if last != 0 && now-last < hopComplaintEvery.Milliseconds() || !s.hopComplaint.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("requests with a hop signature that cannot be verified are told unavailable", "error", cause, "fix", hopFix(cause),
		"from", cleanID(r.Header.Get(auth.HeaderFrom)), "address", r.RemoteAddr)
}

func hopFix(cause error) string {
	switch {
	case errors.Is(cause, auth.ErrHopTime):
		return fmt.Sprintf("set the clocks of interceptors and backends by NTP: they may differ by %s", auth.HopSkew)
	case errors.Is(cause, auth.ErrHopKey), errors.Is(cause, auth.ErrHopSignature):
		return "give interceptors and backends the same hop_keys, and let nothing between them change requests"
	default:
		return "run interceptors and backends of one version, and let nobody else reach the backend"
	}
}

// accountID is the account of a user id; false for users without one, whose tokens somebody else signs.
func accountID(user string) (id int64, ok bool) {
	digits, ok := strings.CutPrefix(user, "a")
	id, err := strconv.ParseInt(digits, 10, 64)
	return id, ok && err == nil && store.AccountUser(id) == user
}

// millisOf is a time on the wire: milliseconds since 1970, 0 for none.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
