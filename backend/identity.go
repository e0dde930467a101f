package backend

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// RoleAdmin may use the operator's routes.
const RoleAdmin = "admin"

// Identity is who a request is for, as an edge has verified it. The zero value is nobody.
type Identity struct {
	User  string
	Name  string
	Roles []string
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
	if who.User == "" {
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

// identify gives a request the identity that its hop signature vouches for. Headers without a valid
// signature are worth nothing: the request goes on as nobody's. body is the whole body.
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
		s.log.Debug("a request's hop signature is refused; it goes on as nobody's", "error", err, "path", r.URL.Path)
		return r
	}
	if hop.User == "" || sale.CheckUser(hop.User) != nil {
		return r
	}
	who := Identity{User: hop.User, Name: hop.Name}
	for role := range strings.SplitSeq(hop.Roles, ",") {
		if role = strings.TrimSpace(role); role != "" {
			who.Roles = append(who.Roles, role)
		}
	}
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, who))
}

// accountUser is an account's user id in every other layer.
func accountUser(id int64) string { return "a" + strconv.FormatInt(id, 10) }

// millisOf is a time on the wire: milliseconds since 1970, 0 for none.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
