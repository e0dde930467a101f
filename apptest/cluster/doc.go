// Package cluster runs all of Headgate on one machine as separate processes, from readable config files
// (deploy/local): nginx, interceptors, the voters of the counter's shards, backends, consumers, and private
// instances of RabbitMQ and MariaDB. A supervisor starts them in order, watches them, and does to each what
// it is told over a unix socket: kill, stop, start, restart, pause, resume, cut off from the network, heal.
// See DESIGN.md.
//
// It owns the processes it started, the folder it made, and one nftables table. It knows Headgate's programs
// from outside only: config files, flags, ports, exit codes. Linux only.
package cluster
