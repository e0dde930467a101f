package interceptor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"headgate.example/lib/sale"
)

// formError names the field of an order that is wrong. Its text is meant for the caller.
type formError struct{ field, reason string }

func (e *formError) Error() string { return e.field + ": " + e.reason }

// ownQuantity is the field of an order that our backend knows.
const ownQuantity = "quantity"

// parseOrderBody reads the body of an order: nothing, or {"quantity": n} with the name that field
// gives. more allows other fields, which are skipped. stated reports whether it names the quantity,
// which is 1 otherwise. Errors are *formError.
func parseOrderBody(body []byte, field string, more bool) (quantity int64, stated bool, err error) {
	body = trimJSON(body)
	if len(body) == 0 {
		return 1, false, nil
	}
	if n, ok := plainQuantity(body); ok && field == ownQuantity {
		return n, true, checkQuantity(field, n)
	}
	return parseOrderJSON(body, field, more)
}

// trimJSON cuts off JSON's white space, which there mostly is none of; bytes.TrimSpace knows more.
func trimJSON(text []byte) []byte {
	if n := len(text); n > 0 && text[0] > ' ' && text[n-1] > ' ' {
		return text
	}
	return bytes.Trim(text, " \t\r\n")
}

var quantityPrefix = []byte(`{"quantity":`)

// plainQuantity reads the usual spelling without allocating.
func plainQuantity(body []byte) (int64, bool) {
	rest, begins := bytes.CutPrefix(body, quantityPrefix)
	if !begins || len(rest) == 0 || rest[len(rest)-1] != '}' {
		return 0, false
	}
	rest = trimJSON(rest[:len(rest)-1])
	if len(rest) == 0 || len(rest) > 9 || rest[0] == '0' && len(rest) > 1 {
		return 0, false
	}
	n := int64(0)
	for _, c := range rest {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func checkQuantity(field string, n int64) error {
	if n < 1 || n > sale.MaxQuantity {
		return &formError{field, fmt.Sprintf("must be a whole number from 1 to %d, is %d", sale.MaxQuantity, n)}
	}
	return nil
}

// parseOrderJSON reads any other spelling, strictly: encoding/json alone would take "Quantity" for
// "quantity", the last of two, null for nothing, and broken UTF-8.
func parseOrderJSON(body []byte, field string, more bool) (quantity int64, stated bool, err error) {
	if !utf8.Valid(body) {
		return 0, false, &formError{"body", "is not UTF-8"}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		return 0, false, notJSON()
	}
	if token != json.Delim('{') {
		return 0, false, &formError{"body", `must be a JSON object such as {"quantity":1}, or empty`}
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0, false, notJSON()
		}
		if name != field {
			if err := skipField(dec, shown(name), field, more); err != nil {
				return 0, false, err
			}
			continue
		}
		if stated {
			return 0, false, &formError{field, "is given twice"}
		}
		if quantity, err = readQuantity(dec, field); err != nil {
			return 0, false, err
		}
		stated = true
	}
	if _, err := dec.Token(); err != nil {
		return 0, false, notJSON()
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return 0, false, &formError{"body", "text follows the JSON object"}
	}
	if !stated {
		return 1, false, nil
	}
	return quantity, true, nil
}

// skipField passes over another field where there may be any. Its name must not differ from the
// quantity's in case only: some shop might read that one.
func skipField(dec *json.Decoder, name, field string, more bool) error {
	switch {
	case !more:
		return &formError{name, fmt.Sprintf("is not known; an order has the field %q only", field)}
	case strings.EqualFold(name, field):
		return &formError{name, fmt.Sprintf("is written %q here", field)}
	}
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return notJSON()
	}
	return nil
}

func readQuantity(dec *json.Decoder, field string) (int64, error) {
	value, err := dec.Token()
	if err != nil {
		return 0, notJSON()
	}
	number, ok := value.(json.Number)
	if !ok {
		return 0, &formError{field, fmt.Sprintf("must be a whole number, is %s", kindOf(value))}
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		return 0, &formError{field, fmt.Sprintf("must be a whole number from 1 to %d, is %s", sale.MaxQuantity, shown(number.String()))}
	}
	return n, checkQuantity(field, n)
}

func notJSON() error { return &formError{"body", "is not JSON"} }

func kindOf(token json.Token) string {
	switch token.(type) {
	case string:
		return "a text"
	case bool:
		return "a truth value"
	case nil:
		return "null"
	default:
		return "an object or list"
	}
}

// shown is a caller's own text, cut short.
func shown(text any) string {
	s := fmt.Sprint(text)
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
