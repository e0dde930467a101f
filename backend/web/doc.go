// Package web serves the shop page: one page of plain HTML, CSS and JavaScript, embedded into the
// program and sent without a build chain. It owns the files under assets and the headers they are
// sent with: a strict Content-Security-Policy, entity tags, and caching.
//
// The page speaks to the HTTP API only. The package must not know sales, orders or accounts.
package web
