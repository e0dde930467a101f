package interceptor

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// What travels in a hop between edges: numbers and texts, each text with its length before it. Peers are
// our own program, over a link that proves it, yet each length is checked.

var errHopForm = errors.New("the hop is cut off or of another version")

// hopVersion begins every request and answer; nodes of different versions are told apart by it.
const hopVersion = 1

// Flags of a hop's request.
const hopHTTPS = 1

// Flags of a hop's answer.
const (
	answerCloses  = 1 // the connection is to be closed after it
	answerNoBody  = 2 // to HEAD: only the length of the body follows
	maxHopHeaders = 64
)

func appendText[T string | []byte](dst []byte, text T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

// cutText takes a text off; ok stays false once it was.
func cutText(rest []byte, ok *bool) (text, after []byte) {
	n, size := binary.Uvarint(rest)
	if !*ok || size <= 0 || n > uint64(len(rest)-size) {
		*ok = false
		return nil, nil
	}
	return rest[size : size+int(n)], rest[size+int(n):]
}

// hopHeaders are the request's headers that the stages from the owner on look at, besides those that go to
// the upstream.
var hopHeaders = [...]string{"Idempotency-Key", auth.HeaderTicket}

// appendHop writes the exchange's request as its owner needs it: whom it comes from is what was verified
// here, and neither tokens nor cookies travel.
func appendHop(dst []byte, x *exchange) []byte {
	flags := byte(0)
	if x.https {
		flags |= hopHTTPS
	}
	header := &x.ctx.Request.Header
	dst = append(dst, hopVersion, flags)
	address := x.address.As16()
	dst = append(dst, address[:]...)
	dst = appendText(dst, x.identity.User)
	dst = appendText(dst, x.identity.Name)
	dst = appendText(dst, x.identity.RoleList)
	dst = appendText(dst, header.Method())
	dst = appendText(dst, x.target)
	dst = appendText(dst, header.Host())
	count := len(dst)
	dst = append(dst, 0)
	add := func(name string, value []byte) {
		if dst[count] < maxHopHeaders {
			dst[count]++
			dst = appendText(appendText(dst, name), value)
		}
	}
	for _, name := range hopHeaders {
		if value := header.Peek(name); len(value) > 0 {
			add(name, value)
		}
	}
	if x.given != nil {
		add(headerGivenID, x.given)
	}
	proxy.EachRequestHeader(header, x.route.ForwardHeaders, add)
	return appendText(dst, x.ctx.Request.Body())
}

// readHop fills an exchange and its RequestCtx from a hop. Everything is copied.
func (s *Server) readHop(x *exchange, payload []byte) error {
	if len(payload) < 18 || payload[0] != hopVersion {
		return errHopForm
	}
	req, ok := &x.ctx.Request, true
	x.https = payload[1]&hopHTTPS != 0
	x.address = netip.AddrFrom16([16]byte(payload[2:18])).Unmap()
	user, rest := cutText(payload[18:], &ok)
	name, rest := cutText(rest, &ok)
	roles, rest := cutText(rest, &ok)
	method, rest := cutText(rest, &ok)
	target, rest := cutText(rest, &ok)
	host, rest := cutText(rest, &ok)
	if !ok || len(rest) == 0 || len(user) == 0 {
		return errHopForm
	}
	x.identity = s.vouched(x.key, user, name, roles)
	req.Header.SetMethodBytes(method)
	req.Header.SetRequestURIBytes(target)
	req.Header.SetHostBytes(host)
	headers := int(rest[0])
	rest = rest[1:]
	for range headers {
		var key, value []byte
		key, rest = cutText(rest, &ok)
		value, rest = cutText(rest, &ok)
		if !ok {
			return errHopForm
		}
		req.Header.SetBytesKV(key, value)
	}
	body, rest := cutText(rest, &ok)
	if !ok || len(rest) > 0 {
		return errHopForm
	}
	if len(body) > 0 {
		req.SetBody(body)
	}
	if given := req.Header.Peek(headerGivenID); len(given) > 0 { // the peer has checked it
		x.given = given
	}
	return nil
}

// vouchedEntries is how many identities of hops are kept, so that a crowd's presses make no garbage.
const vouchedEntries = 1 << 14

// vouched gives the identity that a peer has verified. One that is known already is shared.
func (s *Server) vouched(key uint64, user, name, roles []byte) *tokens.Identity {
	place := &s.vouchedFor[key%vouchedEntries]
	if known := place.Load(); known != nil && known.User == string(user) && known.Name == string(name) && known.RoleList == string(roles) {
		return known
	}
	identity := tokens.Vouched(string(user), string(name), string(roles))
	place.Store(identity)
	return identity
}

// appendAnswer writes a hop's answer as its buyer is to get it.
func appendAnswer(dst []byte, resp *fasthttp.Response, code string) []byte {
	flags := byte(0)
	if resp.ConnectionClose() {
		flags |= answerCloses
	}
	if resp.SkipBody {
		flags |= answerNoBody
	}
	dst = append(dst, hopVersion, flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(resp.StatusCode()))
	dst = appendText(dst, code)
	count := len(dst)
	dst = append(dst, 0)
	for name, value := range resp.Header.All() {
		if dst[count] < 255 && string(name) != "Content-Length" && string(name) != "Connection" {
			dst[count]++
			dst = appendText(appendText(dst, name), value)
		}
	}
	if resp.SkipBody {
		return binary.AppendUvarint(dst, uint64(max(0, resp.Header.ContentLength())))
	}
	return append(dst, resp.Body()...)
}

// readAnswer fills the exchange's response from a hop's answer. Everything is copied.
func readAnswer(x *exchange, payload []byte) error {
	if len(payload) < 5 || payload[0] != hopVersion {
		return errHopForm
	}
	resp, ok := &x.ctx.Response, true
	flags := payload[1]
	status := int(binary.BigEndian.Uint16(payload[2:]))
	code, rest := cutText(payload[4:], &ok)
	if !ok || len(rest) == 0 || status < 200 || status > 599 {
		return errHopForm
	}
	headers := int(rest[0])
	rest = rest[1:]
	for range headers {
		var name, value []byte
		name, rest = cutText(rest, &ok)
		value, rest = cutText(rest, &ok)
		switch {
		case !ok:
			resp.Reset()
			return errHopForm
		case string(name) == auth.HeaderRequestID && len(value) == requestIDBytes:
			copy(x.id[:], value) // the owner's log and refusals have it
		case string(name) == "Content-Type", string(name) == "Content-Encoding":
			resp.Header.SetCanonical(name, value)
		default:
			resp.Header.AddBytesKV(name, value)
		}
	}
	resp.SetStatusCode(status)
	x.code = sharedCode(code)
	if flags&answerCloses != 0 {
		x.ctx.SetConnectionClose()
	}
	if flags&answerNoBody != 0 {
		length, _ := binary.Uvarint(rest)
		resp.SkipBody = true
		resp.Header.SetContentLength(int(length))
		return nil
	}
	resp.SetBody(rest)
	return nil
}

// sharedCode gives a refusal's code without making garbage where it is one of the usual.
func sharedCode(code []byte) string {
	if len(code) == 0 {
		return ""
	}
	if known, ok := knownCodes[string(code)]; ok {
		return known
	}
	return string(code)
}

// knownCodes are the labels that answers have. Read only.
var knownCodes = func() map[string]string {
	codes := map[string]string{labelAccepted: labelAccepted}
	for _, code := range problem.Codes() {
		codes[string(code)] = string(code)
	}
	return codes
}()
