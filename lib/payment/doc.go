// Package payment is the contract between Headgate and whoever moves the money: begin a payment of an
// order, verify what a callback claims, ask how a payment stands, give money back. Drivers are
// payment/sandbox (built in, for tests and rehearsals); payment/open picks one from a Config.
//
// The rules that keep money and stock in agreement are not here but in lib/store (ReceivePayment,
// CancelDue): a provider only has to answer truthfully, and may answer late, twice, or not at all. One
// word is final without an amount: a reference that it does not know well after the payment's expiry
// (ErrUnknownReference) is one whose Begin got lost, and the consumer closes it. The package is used by
// the backend (Begin, Verify, Query) and the consumer (Query, Refund).
//
// The package knows no order's state and no program.
package payment
