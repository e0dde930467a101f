// Package accounts makes and changes accounts as operators do: with roles, without the old password. It is
// what `headgate account` runs on, and what gives a new data folder its demo accounts.
//
// It owns nothing: accounts are rows of the ledger, and tokens are voided by the counter. A token carries the
// roles of the moment at which it was signed, so whatever takes something from an account voids its tokens
// after the change: with the opposite order somebody could sign in between with what is being taken away.
// It must not know HTTP, nor how people sign in.
package accounts
