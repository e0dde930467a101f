// Package sale is the domain that every Headgate program shares: order ids, the states of holds and
// orders, the terms of a sale, its live figures, and the message that carries an accepted order
// through the queue.
//
// It owns names and encodings, no behaviour: who may move from one state to the next is decided by
// counter/machine (holds) and lib/store (orders). It must not know a program, a database or a wire.
package sale
