// Package revocations keeps the counter's list of voided tokens short: a revocation says nothing any more
// when every token that it voided has expired, and takes one of the places that bans need, too.
//
// It owns nothing durable. It must not know HTTP, nor who revokes.
package revocations
