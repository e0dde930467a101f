// Package edges runs several real interceptors for tests: before a counter and an upstream that takes
// everything, behind nginx where a test wants it. Buyers' tokens are made by apptest/signer, so that no
// backend is needed.
package edges
