package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

const ringSecret = "ticket-secret-for-tests"

func ring(t testing.TB) *Keyring {
	t.Helper()
	r, err := NewKeyring([]SymmetricKey{{ID: "t1", Secret: ringSecret}, {ID: "t0", Secret: "the-older-secret-of-tickets"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sampleTicket() Ticket {
	return Ticket{Order: 123456789012345678, Sale: "1", User: "u000001", Quantity: 1, Slot: 1, Key: "", ExpiresAt: 1_790_000_030_000}
}

// signed makes a ticket of any payload with the right signature.
func signed(id, secret, payload string) string {
	text := "v1." + id + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return text + "." + base64.RawURLEncoding.EncodeToString(sum(secret, text))
}

func sum(secret, text string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func TestTicketsComeBackAsTheyWere(t *testing.T) {
	r := ring(t)
	rapid.Check(t, func(t *rapid.T) {
		want := Ticket{
			Order:     sale.OrderID(rapid.Int64Range(1, 1<<63-1).Draw(t, "order")),
			Sale:      rapid.StringMatching(`[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}`).Draw(t, "sale"),
			User:      rapid.StringMatching(`[!-~]{1,64}`).Draw(t, "user"),
			Quantity:  rapid.Int64Range(1, sale.MaxQuantity).Draw(t, "quantity"),
			Slot:      rapid.Int64Range(1, sale.MaxUnits).Draw(t, "slot"),
			Key:       rapid.StringMatching(`[!-~]{0,64}`).Draw(t, "key"),
			ExpiresAt: rapid.Int64Range(0, 1<<62).Draw(t, "exp"),
		}
		text, err := r.SignTicket(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.VerifyTicket(text)
		if err != nil || got != want {
			t.Fatalf("signed %+v, read %+v, %v", want, got, err)
		}
		if b := got.Binding(); b.Order != want.Order || b.Slot != want.Slot {
			t.Fatalf("the binding is %+v", b)
		}
		// The JSON by hand says what encoding/json would say.
		var plain map[string]any
		if err := json.Unmarshal(want.appendJSON(nil), &plain); err != nil || len(plain) != 7 {
			t.Fatalf("payload %s: %v", want.appendJSON(nil), err)
		}
	})
}

func TestTheLongestTicketFits(t *testing.T) {
	r, err := NewKeyring([]SymmetricKey{{ID: strings.Repeat("k", MaxKeyIDBytes), Secret: ringSecret}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.SignTicket(Ticket{
		Order: 1<<63 - 1, Sale: strings.Repeat("s", 64), User: strings.Repeat(`"`, 64), Quantity: sale.MaxQuantity,
		Slot: sale.MaxUnits, Key: strings.Repeat(`\`, 64), ExpiresAt: 1<<63 - 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != 667 {
		t.Errorf("the longest ticket has %d bytes: correct the comment of MaxTicketBytes", len(text))
	}
	if _, err := r.VerifyTicket(text); err != nil {
		t.Error(err)
	}
}

func TestTicketsOfBothKeys(t *testing.T) {
	r := ring(t)
	text, err := r.SignTicket(sampleTicket())
	if err != nil || !strings.HasPrefix(text, "v1.t1.") {
		t.Fatalf("the first key must sign: %q, %v", text, err)
	}
	old := signed("t0", "the-older-secret-of-tickets", string((&Ticket{Order: 1, Sale: "1", User: "u", Quantity: 1, Slot: 1}).appendJSON(nil)))
	if _, err := r.VerifyTicket(old); err != nil {
		t.Errorf("signed with the second key: %v", err)
	}
}

func TestVerifyTicketRefuses(t *testing.T) {
	r := ring(t)
	ticket := sampleTicket()
	payload := string(ticket.appendJSON(nil))
	good := signed("t1", ringSecret, payload)
	if got, err := r.VerifyTicket(good); err != nil || got != ticket {
		t.Fatalf("the ticket that the others are made from: %+v, %v", got, err)
	}
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding
	raw := func(part string) string { // signed, but the payload is encoded by hand
		text := "v1.t1." + part
		return text + "." + b64.EncodeToString(sum(ringSecret, text))
	}
	edit := func(old, with string) string { return signed("t1", ringSecret, strings.Replace(payload, old, with, 1)) }
	last := good[:len(good)-1] + string(nextInAlphabet(good[len(good)-1])) // another spelling of the same bytes
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrTicketMalformed},
		{"three parts", strings.Join(parts[:3], "."), ErrTicketMalformed},
		{"five parts", good + ".x", ErrTicketMalformed},
		{"later version", "v2" + good[2:], ErrTicketMalformed},
		{"empty payload", raw(""), ErrTicketMalformed},
		{"empty signature", strings.Join(parts[:3], ".") + ".", ErrTicketMalformed},
		{"too long", good + strings.Repeat("A", MaxTicketBytes), ErrTicketMalformed},
		{"unknown key", "v1.t9." + parts[2] + "." + parts[3], ErrTicketKey},
		{"no key", "v1.." + parts[2] + "." + parts[3], ErrTicketKey},
		{"the other key's id", "v1.t0." + parts[2] + "." + parts[3], ErrTicketSignature},
		{"wrong secret", signed("t1", "another-secret-entirely", payload), ErrTicketSignature},
		{"another payload", parts[0] + "." + parts[1] + "." + b64.EncodeToString([]byte(strings.Replace(payload, `"quantity":1`, `"quantity":2`, 1))) + "." + parts[3], ErrTicketSignature},
		{"short signature", good[:len(good)-4], ErrTicketSignature},
		{"padded signature", good + "=", ErrTicketSignature},
		{"signature spelt otherwise", last, ErrTicketSignature},
		{"line break in the signature", good[:len(good)-3] + "\n" + good[len(good)-3:], ErrTicketSignature},
		{"payload padded", raw(parts[2] + strings.Repeat("=", (4-len(parts[2])%4)%4+1)), ErrTicketMalformed},
		{"payload in the other alphabet", raw("+/+/"), ErrTicketMalformed},
		{"payload with a line break", raw(parts[2][:8] + "\n" + parts[2][8:]), ErrTicketMalformed},
		{"payload is no JSON", signed("t1", ringSecret, "hello"), ErrTicketMalformed},
		{"payload is a list", signed("t1", ringSecret, "[]"), ErrTicketMalformed},
		{"unknown field", edit(`}`, `,"admin":true}`), ErrTicketMalformed},
		{"text after the object", signed("t1", ringSecret, payload+"{}"), ErrTicketMalformed},
		{"order is a number", edit(`"order":"123456789012345678"`, `"order":123`), ErrTicketMalformed},
		{"order is zero", edit(`123456789012345678`, `0`), ErrTicketMalformed},
		{"quantity of zero", edit(`"quantity":1`, `"quantity":0`), ErrTicketMalformed},
		{"slot of zero", edit(`"slot":1`, `"slot":0`), ErrTicketMalformed},
		{"no user", edit(`u000001`, ``), ErrTicketMalformed},
		{"bad sale", edit(`"sale":"1"`, `"sale":"../1"`), ErrTicketMalformed},
		{"bad key", edit(`"key":""`, `"key":"a b"`), ErrTicketMalformed},
		{"negative expiry", edit(`"exp":1`, `"exp":-1`), ErrTicketMalformed},
	} {
		got, err := r.VerifyTicket(c.text)
		if !errors.Is(err, c.want) || got != (Ticket{}) {
			t.Errorf("%s: %+v, %v; want %v", c.name, got, err, c.want)
		}
	}
	// The expiry is advisory.
	if _, err := r.VerifyTicket(edit(`"exp":1790000030000`, `"exp":1`)); err != nil {
		t.Errorf("a ticket of a hold that ran out: %v", err)
	}
}

// nextInAlphabet changes the two bits of a last base64 digit that carry nothing.
func nextInAlphabet(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func TestSignTicketRefuses(t *testing.T) {
	r := ring(t)
	for name, change := range map[string]func(*Ticket){
		"order": func(x *Ticket) { x.Order = 0 }, "sale": func(x *Ticket) { x.Sale = "" }, "user": func(x *Ticket) { x.User = "a b" },
		"quantity": func(x *Ticket) { x.Quantity = 0 }, "slot": func(x *Ticket) { x.Slot = 0 }, "key": func(x *Ticket) { x.Key = "\n" },
		"exp": func(x *Ticket) { x.ExpiresAt = -1 },
	} {
		ticket := sampleTicket()
		change(&ticket)
		if text, err := r.SignTicket(ticket); err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s: signed %q, %v", name, text, err)
		}
	}
}

// What the docs promise to other languages: the signature is plain HMAC-SHA256 of what stands before it.
func TestTicketVerifiesWithOpenSSL(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	text, err := ring(t).SignTicket(sampleTicket())
	if err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndexByte(text, '.')
	cmd := exec.Command(path, "dgst", "-sha256", "-hmac", ringSecret, "-binary")
	cmd.Stdin = strings.NewReader(text[:dot])
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.RawURLEncoding.EncodeToString(raw); got != text[dot+1:] {
		t.Errorf("openssl says %s, the ticket %s", got, text[dot+1:])
	}
}

func TestKeyringRefuses(t *testing.T) {
	for _, c := range []struct {
		want string
		keys []SymmetricKey
	}{
		{"keys: must name 1 to 16 keys, names 0", nil},
		{"keys: must name 1 to 16 keys, names 17", manyKeys(17)},
		{"keys[0].id: must be 1 to 32", []SymmetricKey{{ID: "a.b", Secret: ringSecret}}},
		{"keys[0].id: must be 1 to 32", []SymmetricKey{{ID: strings.Repeat("x", 33), Secret: ringSecret}}},
		{"keys[0].secret: must be at least 16 bytes, is 3", []SymmetricKey{{ID: "a", Secret: "abc"}}},
		{"keys[1].id: \"a\" is the id of an earlier key", []SymmetricKey{{ID: "a", Secret: ringSecret}, {ID: "a", Secret: ringSecret}}},
	} {
		var p config.Problems
		ValidateKeys(&p, "keys", c.keys)
		if err := p.Err(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("ValidateKeys: %v, want %s", err, c.want)
		}
		if _, err := NewKeyring(c.keys); err == nil {
			t.Errorf("%s: a keyring was made", c.want)
		}
	}
}

func manyKeys(n int) []SymmetricKey {
	var keys []SymmetricKey
	for i := range n {
		keys = append(keys, SymmetricKey{ID: string(rune('a' + i)), Secret: ringSecret})
	}
	return keys
}

func FuzzVerifyTicket(f *testing.F) {
	r := ring(f)
	ticket := sampleTicket()
	good, err := r.SignTicket(ticket)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		good, "", "v1", "v1...", "v1.t1..", "v1.t1.e30.AAAA", good + "=", good[:40], strings.Repeat("v1.", 400),
		signed("t1", ringSecret, "{}"), signed("t1", ringSecret, `{"order":"1"}`), "v1.t1.\n.\n",
	} {
		f.Add(seed, "x")
	}
	f.Add("", string(ticket.appendJSON(nil)))
	f.Add("", `{"order":"1","sale":"s","user":"u","quantity":1e3,"slot":1,"key":"","exp":0}`)
	f.Fuzz(func(t *testing.T, text, payload string) {
		if got, err := r.VerifyTicket(text); err == nil && text != good {
			t.Fatalf("a forged ticket passes: %q gives %+v", text, got)
		}
		// And with a right signature over any payload: what passes is whole, and signs again.
		got, err := r.VerifyTicket(signed("t1", ringSecret, payload))
		if err != nil {
			if !errors.Is(err, ErrTicketMalformed) {
				t.Fatalf("payload %q: %v", payload, err)
			}
			return
		}
		if again, err := r.SignTicket(got); err != nil {
			t.Fatalf("payload %q gives %+v, which cannot be signed: %v", payload, got, err)
		} else if back, err := r.VerifyTicket(again); err != nil || back != got {
			t.Fatalf("payload %q: %+v comes back as %+v, %v", payload, got, back, err)
		}
	})
}

func BenchmarkSignTicket(b *testing.B) {
	r, ticket := ring(b), sampleTicket()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.SignTicket(ticket); err != nil {
			b.Fatal(err)
		}
	}
}
