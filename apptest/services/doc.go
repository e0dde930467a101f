// Package services starts the real services that tests need (RabbitMQ, MariaDB), privately: on free
// ports of the loopback interface, in a temporary folder, from installed programs. On Debian as root it
// installs what is absent. It also finds the programs that tests start themselves (redis-cli, Chromium,
// nginx, wrk, JMeter, nft, promtool).
//
// It owns the processes it started and stops them by their ids. It never talks to a service that was
// already running. It knows none of Headgate's own programs. Linux and other Unix systems only.
package services
