package interceptor

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"
)

// clientAddress is who sent the request: the peer of the connection, or what the trusted proxies in
// front say, read from the right up to the first address that is not trusted. https is what a trusted
// proxy says of the client's own connection. The header Forwarded is never read: two sources would
// disagree, and proxies that set one of them pass the other through.
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
	return walkForwarded(ctx.Request.Header.PeekAll("X-Forwarded-For"), address, p.trusted), https
}

// maxForwarded bounds the addresses of X-Forwarded-For that are looked at.
const maxForwarded = 32

// walkForwarded follows the lines of X-Forwarded-For, which are one list, from the right: each address was
// added by the one to its right, so that it is believed as long as that one is trusted.
func walkForwarded(lines [][]byte, from netip.Addr, trusted func(netip.Addr) bool) netip.Addr {
	looked := 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; len(rest) > 0; {
			var last []byte
			if comma := bytes.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest, last = nil, rest
			}
			if last = bytes.TrimSpace(last); len(last) == 0 {
				continue
			}
			hop, ok := parseForwarded(string(last))
			if looked++; !ok || looked > maxForwarded {
				return from // what stands to the left of it cannot be trusted either
			}
			if from = hop; !trusted(from) {
				return from
			}
		}
	}
	return from
}

// parseForwarded reads an address, perhaps with a port, as some balancers write it.
func parseForwarded(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}

func (p *plan) trusted(address netip.Addr) bool {
	for _, prefix := range p.trustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
