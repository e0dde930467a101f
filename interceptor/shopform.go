package interceptor

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/sale"
)

// readQuantity reads how many units a press orders, and whether it says so at all. Errors are *formError.
func (o *OrderForm) readQuantity(ctx *fasthttp.RequestCtx) (int64, bool, error) {
	req := &ctx.Request
	switch o.in() {
	case InQuery:
		return quantityInArgs(ctx.QueryArgs(), o.field())
	case Always1:
		return 1, false, nil
	}
	body := req.Body()
	if !o.ShopForm {
		return parseOrderBody(body, o.field(), false)
	}
	if len(body) == 0 {
		return 1, false, nil
	}
	media, _, _ := bytes.Cut(req.Header.ContentType(), []byte{';'})
	switch media = bytes.TrimSpace(media); {
	case bytes.EqualFold(media, formMedia):
		return quantityInArgs(req.PostArgs(), o.field())
	case bytes.EqualFold(media, jsonMedia):
		return parseOrderBody(body, o.field(), true)
	}
	return 0, false, &formError{"Content-Type", "must be application/json or application/x-www-form-urlencoded"}
}

var (
	formMedia = []byte("application/x-www-form-urlencoded")
	jsonMedia = []byte("application/json")
)

// quantityInArgs reads the field of a query or a form. It must be there once, and no name may differ
// from it in case only: some shop might read that one.
func quantityInArgs(args *fasthttp.Args, field string) (quantity int64, stated bool, err error) {
	for name, value := range args.All() {
		switch {
		case !strings.EqualFold(string(name), field):
			continue
		case string(name) != field:
			return 0, false, &formError{shown(string(name)), fmt.Sprintf("is written %q here", field)}
		case stated:
			return 0, false, &formError{field, "is given twice"}
		}
		quantity, err = strconv.ParseInt(string(value), 10, 64)
		if err != nil || len(value) > 9 || value[0] == '0' || value[0] == '+' {
			return 0, false, &formError{field, fmt.Sprintf("must be a whole number from 1 to %d, is %s", sale.MaxQuantity, shown(string(value)))}
		}
		if err := checkQuantity(field, quantity); err != nil {
			return 0, false, err
		}
		stated = true
	}
	if !stated {
		return 1, false, nil
	}
	return quantity, true, nil
}
