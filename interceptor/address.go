package interceptor

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"
)

// clientAddress is who sent the request: the peer of the connection, or what the trusted proxies in
// front say, read from the right up to the first address that is not trusted. https is what a trusted
// proxy says of the client's own connection.
func (p *plan) clientAddress(ctx *fasthttp.RequestCtx) (address netip.Addr, https bool) {
	if conn, ok := ctx.Conn().(*clientConn); ok {
		address = conn.address
	} else if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		address = tcp.AddrPort().Addr().Unmap()
	}
	if !p.trusted(address) {
		return address, false
	}
	https = string(ctx.Request.Header.Peek("X-Forwarded-Proto")) == "https"
	lines := ctx.Request.Header.PeekAll("X-Forwarded-For")
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; len(rest) > 0; {
			var last []byte
			if comma := bytes.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest, last = nil, rest
			}
			hop, err := netip.ParseAddr(string(bytes.TrimSpace(last)))
			if err != nil {
				return address, https // what stands to the left of it cannot be trusted either
			}
			address = hop.Unmap().WithZone("")
			if !p.trusted(address) {
				return address, https
			}
		}
	}
	return address, https
}

func (p *plan) trusted(address netip.Addr) bool {
	for _, prefix := range p.trustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
