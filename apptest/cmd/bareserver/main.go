// Command bareserver is the yardstick of `make bench`: a fasthttp server that answers every request
// with the same refusal, and does nothing else.
package main

import (
	"fmt"
	"os"

	"github.com/valyala/fasthttp"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bareserver HOST:PORT")
		os.Exit(2)
	}
	body := []byte(`{"type":"about:blank","title":"Sold out","status":409,"code":"sold_out","detail":"every unit is taken"}`)
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/readyz" {
			return
		}
		ctx.SetStatusCode(fasthttp.StatusConflict)
		ctx.SetContentType("application/problem+json")
		ctx.Response.Header.Set("Headgate-Code", "sold_out")
		ctx.SetBody(body)
	}}
	if err := server.ListenAndServe(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "bareserver:", err)
		os.Exit(1)
	}
}
