// Package route reads request targets. Canonical accepts a target only in the one form that is routed,
// authorised and forwarded, and says what is wrong with any other; Table finds the route of a
// canonical path. Neither allocates for a request.
//
// It must not know what a route does with a request, nor fasthttp.
package route
