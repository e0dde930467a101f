// Package tokens keeps the identities of verified tokens, so that a buyer's signature is checked once
// and not with each press. A cached token is still held against its expiry and against revocations
// each time. Only tokens that verified are kept, so that garbage cannot fill the cache; at its bound the
// tokens not seen for longest go.
//
// It must not know where a token came from, nor HTTP.
package tokens
