// Package proxy is the hop between this node and an upstream: bounded connections without hidden
// retries, requests built from an allow-list of headers and signed, answers passed back by an
// allow-list, and the checks of request headers that fasthttp leaves to its user.
//
// It must not know routes, sales or orders.
package proxy
