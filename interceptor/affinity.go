package interceptor

import (
	"bytes"

	"headgate.example/interceptor/peers"
)

// The affinity cookie names the edge that owns a user, so that a balancer which reads it sends him there and
// the hop is spared. It holds a node's name from the config and nothing of the user; a wrong one costs a hop.

var (
	headerSetCookie = []byte("Set-Cookie")
	cacheable       = []byte("public")
)

// tellOwner sets the affinity cookie where the request came without the right one. A public answer, which a
// cache may keep, gets none. Who presses too early is told as well, so that few need a hop when the sale opens.
func (s *Server) tellOwner(x *exchange) {
	name := x.plan.cfg.Sharding.AffinityCookie
	if name == "" || x.identity == nil || x.hop != nil || s.peers.Alone() {
		return
	}
	owner := s.peers.Self()
	switch {
	case x.owner != nil:
		owner = x.owner.Name()
	case s.peers.Owns(x.key):
	case x.endedBy == stageSaleState: // the ring's word: no hop was tried
		owner = s.peers.OwnerName(x.key)
	default:
		return // it was refused before anybody asked for the owner, or its owner is away
	}
	if string(x.ctx.Request.Header.Cookie(name)) == owner || bytes.Contains(x.ctx.Response.Header.PeekBytes(headerCacheControl), cacheable) {
		return
	}
	x.buf = append(append(append(append(x.buf[:0], name...), '='), owner...), "; Path=/; HttpOnly; SameSite=Lax"...)
	if x.https {
		x.buf = append(x.buf, "; Secure"...)
	}
	x.ctx.Response.Header.AddBytesKV(headerSetCookie, x.buf)
}

var _ peers.Handler = (*Server)(nil)
