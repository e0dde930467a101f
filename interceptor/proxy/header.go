package proxy

import (
	"bytes"
	"net/textproto"
	"strings"

	"github.com/valyala/fasthttp"
)

// requestHeaders are passed on to the upstream; all others are dropped.
var requestHeaders = [...]string{
	"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "If-Match", "If-Modified-Since",
	"If-None-Match", "If-Unmodified-Since", "User-Agent",
}

// responseHeaders are passed back to the client, besides Content-Type, Content-Encoding and Set-Cookie.
var responseHeaders = [...]string{
	"Age", "Allow", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Security-Policy",
	"Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Etag", "Expires", "Headgate-Code", "Last-Modified", "Link", "Location",
	"Permissions-Policy", "Ratelimit", "Ratelimit-Policy", "Referrer-Policy", "Retry-After", "Vary",
	"X-Content-Type-Options", "X-Frame-Options",
}

// Forwardable reports whether a route may name the header to be passed on as well: it is a header's
// name, and neither says how the message is framed nor whom it comes from.
func Forwardable(name string) bool {
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
	}) {
		return false
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Connection", "Content-Length", "Cookie", "Expect", "Forwarded", "Host", "Keep-Alive", "Proxy-Authenticate",
		"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Real-Ip", "X-Request-Id":
		return false
	}
	return !strings.HasPrefix(name, "Headgate-") && !strings.HasPrefix(name, "X-Forwarded-")
}

// CopyRequestHeaders passes the allowed headers of a request on, and the route's own. Headers that the
// request's Connection header nominates are dropped.
func CopyRequestHeaders(dst, src *fasthttp.RequestHeader, extra []string) {
	EachRequestHeader(src, extra, func(name string, value []byte) { dst.SetBytesV(name, value) })
}

// EachRequestHeader calls pass with each header that CopyRequestHeaders passes on.
func EachRequestHeader(src *fasthttp.RequestHeader, extra []string, pass func(name string, value []byte)) {
	nominated := src.PeekAll("Connection")
	for _, list := range [...][]string{requestHeaders[:], extra} {
		for _, name := range list {
			if value := src.Peek(name); len(value) > 0 && !nominates(nominated, name) {
				pass(name, value)
			}
		}
	}
}

// nominates reports whether one of the Connection headers names another header.
func nominates(connection [][]byte, name string) bool {
	for _, line := range connection {
		for len(line) > 0 {
			var token []byte
			token, line, _ = bytes.Cut(line, comma)
			if bytes.EqualFold(bytes.TrimSpace(token), []byte(name)) {
				return true
			}
		}
	}
	return false
}

var comma = []byte(",")

// CopyResponse passes an answer back: status, body and the allowed headers.
func CopyResponse(dst, src *fasthttp.Response) {
	dst.SetStatusCode(src.StatusCode())
	if contentType := src.Header.ContentType(); len(contentType) > 0 {
		dst.Header.SetContentTypeBytes(contentType)
	}
	if encoding := src.Header.ContentEncoding(); len(encoding) > 0 {
		dst.Header.SetContentEncodingBytes(encoding)
	}
	for _, name := range responseHeaders {
		for _, value := range src.Header.PeekAll(name) {
			dst.Header.AddBytesV(name, value)
		}
	}
	for name, value := range src.Header.All() {
		if string(name) == "Set-Cookie" {
			dst.Header.AddBytesV("Set-Cookie", value)
		}
	}
	if dst.SkipBody || src.SkipBody { // HEAD: the length is that of the body which GET would have
		dst.SkipBody = true
		if n := src.Header.ContentLength(); n > 0 {
			dst.Header.SetContentLength(n)
		}
		return
	}
	dst.SetBody(src.Body())
}
