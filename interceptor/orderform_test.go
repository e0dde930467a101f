package interceptor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

func TestOrderBodiesThatAreRead(t *testing.T) {
	for body, want := range map[string]struct {
		quantity int64
		stated   bool
	}{
		"": {1, false}, " \r\n": {1, false}, "{}": {1, false}, `{ }`: {1, false},
		`{"quantity":1}`: {1, true}, `{"quantity": 7 }`: {7, true}, "\n{ \"quantity\" :\t1000}\n": {1000, true},
		`{"\u0071uantity":2}`: {2, true},
	} {
		quantity, stated, err := parseOrderBody([]byte(body), ownQuantity, false)
		if err != nil || quantity != want.quantity || stated != want.stated {
			t.Errorf("%q: %d, %v, %v", body, quantity, stated, err)
		}
	}
}

func TestOrderBodiesThatAreRefused(t *testing.T) {
	for body, field := range map[string]string{
		`{"quantity":0}`: "quantity", `{"quantity":-1}`: "quantity", `{"quantity":1001}`: "quantity", `{"quantity":1.5}`: "quantity",
		`{"quantity":1e2}`: "quantity", `{"quantity":"1"}`: "quantity", `{"quantity":null}`: "quantity", `{"quantity":true}`: "quantity",
		`{"quantity":[1]}`: "quantity", `{"quantity":{}}`: "quantity", `{"quantity":99999999999999999999}`: "quantity",
		`{"quantity":1,"quantity":1}`: "quantity", `{"Quantity":1}`: "Quantity", `{"quantity":1,"x":2}`: "x", `{"":1}`: "",
		`{"quantity":01}`: "quantity", `{"quantity":1`: "body", `{"quantity":`: "body", `{"quantity":}`: "body", `{"quantity"}`: "body", `{"quantity":1}}`: "body", `{"quantity":1} {}`: "body",
		`[]`: "body", `1`: "body", `null`: "body", `"x"`: "body", `{`: "body", "\xff": "body", `{"quantity":1,}`: "body", "x": "body",
		"{\"quantity\":\x00}": "body", `{"` + strings.Repeat("k", 100) + `":1}`: strings.Repeat("k", 40) + "...",
	} {
		_, _, err := parseOrderBody([]byte(body), ownQuantity, false)
		var wrong *formError
		if !errors.As(err, &wrong) || wrong.field != field || wrong.reason == "" {
			t.Errorf("%q: %v, want field %q", body, err, field)
		}
	}
}

func FuzzOrderBody(f *testing.F) {
	for _, body := range []string{"", "{}", `{"quantity":1}`, `{"quantity": 10 }`, `{"quantity":01}`, `{"quantity":1e3}`, `{"a":{"b":[]}}`, "[[[[", `{"quantity":}`, `{"quantity":1,"quantity":2}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		quantity, stated, err := parseOrderBody(body, ownQuantity, false)
		if err != nil {
			var wrong *formError
			if !errors.As(err, &wrong) {
				t.Fatalf("%q: %v does not name a field", body, err)
			}
			return
		}
		if quantity < 1 || quantity > sale.MaxQuantity {
			t.Fatalf("%q: quantity %d", body, quantity)
		}
		if !stated {
			return
		}
		var plain map[string]int64
		if err := json.Unmarshal(body, &plain); err != nil || len(plain) != 1 || plain["quantity"] != quantity {
			t.Fatalf("%q was read as %d, encoding/json reads %v (%v)", body, quantity, plain, err)
		}
	})
}
