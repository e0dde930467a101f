// Package rabbitmq is the queue contract on a RabbitMQ broker (3.10 or later; seen on 3.10.8).
//
// Publishing: persistent, mandatory messages to quorum queues over a few channels in confirm mode that
// all callers share. An ack, with no return before it, is Confirmed; a nack or a return is Refused; a
// channel that is lost makes whatever it had not settled Unknown, and what had not been written stays
// in line for the next connection.
//
// Consuming: each subscription has a connection of its own, so that a broker that blocks publishers
// does not block it. Holding back and dead-lettering publish a copy, confirmed, before the original is
// acknowledged.
//
// Topology, for prefix P and topic T, declared by whoever needs it first:
//
//	exchange P         direct   T -> queue P.T, T.delay.<ms> -> queue P.T.delay.<ms>
//	exchange P.dead    direct   T -> queue P.T.dead
//	queue P.T          quorum; delivery limit; optional max length; dead letters to P.dead
//	queue P.T.delay.*  quorum; one per delay, with a queue TTL; dead letters to P, that is P.T
//	queue P.T.dead     quorum; has no bound but the broker's disk alarm
//
// Dead-lettering is at-least-once, for which every queue rejects publishes rather than dropping its
// head, and the broker needs its stream_queue feature flag (on by default). Delays are rounded up to a
// fixed ladder, so that the set of queues is bounded and the same for every process. See DESIGN.md.
package rabbitmq
