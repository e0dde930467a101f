// Package queue is the contract of the buffer between the backend, which publishes accepted orders,
// and the consumer, which writes them into the ledger. Drivers are queue/embedded (a SQLite table)
// and queue/rabbitmq; queue/open picks one from a Config; queue/queuetest is the suite that each of
// them passes, and a decorator that plays scripted faults.
//
// The contract in short:
//
//   - Publish tells each message's fate, and tells the truth: Confirmed means that it is stored
//     durably, Refused that it certainly is not, Unknown that it may be. Nothing is guessed.
//   - Delivery is at least once and in no particular order. Whoever receives must expect repeats.
//   - A delivery belongs to its subscription until it is settled (Ack, HoldBack, DeadLetter). What was
//     not settled when the subscription or its process ends, comes again.
//   - Delays are lower bounds. Whoever acts on a deadline checks it again.
//
// A topic has a dead-letter topic (DeadTopic), which can be subscribed to but not published to.
//
// The package knows no message format, no driver and no program.
package queue
