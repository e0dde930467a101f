// Package counter is the program that keeps count: one shard of the quantity control, as a server of
// the Redis protocol.
//
// It owns the connections, the command table and the replies. What the commands mean is decided by
// counter/machine, in the order of the log that counter/replica keeps. Each connection's pipeline is
// parsed as far as it has arrived, and its changes go into the log together; the replies come in the
// order of the requests. See DESIGN.md for the write path, the read path, time and shutdown.
//
// A session, as redis-cli shows it:
//
//	127.0.0.1:7380> AUTH operator-password
//	OK
//	127.0.0.1:7380> SALE.OPEN '{"id":"1","revision":1,"stock":2,"limit":1,"opens_at":1767225600000,"hold_for_ms":30000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}}'
//	OK
//	127.0.0.1:7380> SALE.RESUME 1 2
//	OK
//	127.0.0.1:7380> RESERVE 1 u000001 1 ""
//	1) "reserved"
//	2) "383002738401218560"
//	3) "held"
//	4) (integer) 1
//	5) (integer) 1
//	6) (integer) 1795325730000
//	127.0.0.1:7380> CONFIRM 383002738401218560
//	1) "confirmed"
//
// It must not know HTTP, the queue or the ledger.
package counter
