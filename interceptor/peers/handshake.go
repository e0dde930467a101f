package peers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"headgate.example/lib/auth"
)

// What a link is opened with.
const (
	// LinkPath is the path of the request that opens a link. Nothing else lives under it, and to whoever
	// does not sign it is an unknown path.
	LinkPath = "/.headgate/link"
	// Protocol is the protocol that the opening request upgrades to.
	Protocol = "headgate-link-1"

	keyLabel         = "headgate-link-v1"
	maxResponseBytes = 4096
)

// opening is the text that the opening side signs: to whom, so that it opens nothing elsewhere, and by which
// keys users are known, since nodes that do not agree on them cannot share users.
func opening(from, to string, userKeys []byte) auth.Hop {
	return auth.Hop{Method: http.MethodGet, Path: LinkPath + "?to=" + to, From: from, Body: userKeys}
}

// consent is the text that the accepting side signs: it covers the opening's signature.
func consent(from, to, signature string) auth.Hop {
	return auth.Hop{Method: "101", Path: LinkPath + "?to=" + from, From: to, Body: []byte(signature)}
}

// sessionKeys derives the two keys of a link from both signatures, each of which holds a nonce: neither
// side can be made to use keys of an earlier link.
func sessionKeys(keys *auth.Keyring, signature, answer string) (out, back *sealer, err error) {
	_, rest, _ := strings.Cut(signature, ".")
	keyID, _, _ := strings.Cut(rest, ".")
	secret := keys.Derive(keyID, keyLabel, signature, answer)
	if secret == nil {
		return nil, nil, auth.ErrHopKey
	}
	if out, err = newSealer(secret[:16]); err != nil {
		return nil, nil, err
	}
	back, err = newSealer(secret[16:])
	return out, back, err
}

// open opens a link to a peer. The connection is closed when it fails.
func (s *Set) openLink(conn net.Conn, peer, address string, now time.Time) (out, back *sealer, rest io.Reader, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	keys, self := s.keys(), s.self
	if err := conn.SetDeadline(time.Now().Add(s.cfg.ConnectTimeout)); err != nil {
		return nil, nil, nil, err
	}
	signature := keys.SignHop(opening(self, peer, s.userKeys), now)
	if _, err := fmt.Fprintf(conn, "GET %s?to=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n%s: %s\r\n\r\n",
		LinkPath, peer, address, Protocol, auth.HeaderFrom, self, auth.HeaderHop, signature); err != nil {
		return nil, nil, nil, err
	}
	reader := bufio.NewReaderSize(conn, maxResponseBytes)
	answer, err := readConsent(reader)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := keys.VerifyHop(answer, consent(self, peer, signature), now); err != nil {
		return nil, nil, nil, fmt.Errorf("%s at %s is not who it should be: %w", peer, address, err)
	}
	if out, back, err = sessionKeys(keys, signature, answer); err != nil {
		return nil, nil, nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, nil, nil, err
	}
	begun, _ := reader.Peek(reader.Buffered()) // nothing follows before our first record, but it costs nothing to keep it
	return out, back, io.MultiReader(strings.NewReader(string(begun)), conn), nil
}

var errNoConsent = errors.New("the peer did not open a link (it does where its list of peers names this node, and clocks, hop_keys and user_hash_secret agree)")

// readConsent reads the answer to the opening request: 101 and the accepting side's signature.
func readConsent(reader *bufio.Reader) (signature string, err error) {
	text := textproto.NewReader(reader)
	status, err := text.ReadLine()
	if err != nil {
		return "", err
	}
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return "", fmt.Errorf("%w: it answered %q", errNoConsent, status[:min(len(status), 60)])
	}
	return header.Get(auth.HeaderHop), nil
}

// Consent is the answer to an opening request that is in order.
type Consent struct {
	From      string
	Signature string // for the header auth.HeaderHop of the 101
	receive   *sealer
	send      *sealer
}

var errStranger = errors.New("the link is not opened by a configured peer")

// Accept checks an opening request: its query, and the headers auth.HeaderFrom and auth.HeaderHop. The
// caller answers 101 with Protocol and the consent's signature, and hands the connection to Serve.
func (s *Set) Accept(query, from, signature string) (Consent, error) {
	now := s.clock()
	if query != "to="+s.self || s.peer(from) == nil {
		return Consent{}, errStranger
	}
	keys := s.keys()
	if err := keys.VerifyHop(signature, opening(from, s.self, s.userKeys), now); err != nil {
		return Consent{}, err
	}
	c := Consent{From: from, Signature: keys.SignHop(consent(from, s.self, signature), now)}
	var err error
	c.receive, c.send, err = sessionKeys(keys, signature, c.Signature)
	return c, err
}
