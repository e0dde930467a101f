package interceptor

import (
	"bytes"
	"net"
	"net/netip"
)

// readOrigin notes who sent the request: the peer of the connection, or what the trusted proxies in front
// say, read from the right up to the first address that is not trusted. They also say whether the client
// came by https, and may have named the request. The header Forwarded is never read: two sources would
// disagree, and proxies that set one of them pass the other through.
func (x *exchange) readOrigin() {
	if conn, ok := x.ctx.Conn().(*clientConn); ok {
		x.address = conn.address
	} else if tcp, ok := x.ctx.RemoteAddr().(*net.TCPAddr); ok {
		x.address = tcp.AddrPort().Addr().Unmap()
	}
	if len(x.plan.trustedProxies) == 0 || !x.plan.trusted(x.address) {
		return
	}
	header := &x.ctx.Request.Header
	x.https = string(header.Peek("X-Forwarded-Proto")) == "https"
	if names := header.PeekAll(headerGivenID); len(names) == 1 && isGivenID(names[0]) {
		x.given = names[0]
	}
	x.address = walkForwarded(header.PeekAll("X-Forwarded-For"), x.address, x.plan.trusted)
}

// headerGivenID is what proxies name requests in. It is believed as X-Forwarded-For is, logged, and sent on.
const (
	headerGivenID = "X-Request-Id"
	maxGivenID    = 64 // bytes
)

func isGivenID(name []byte) bool {
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= maxGivenID
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
