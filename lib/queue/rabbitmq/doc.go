// Package rabbitmq is the queue contract on a RabbitMQ broker (3.10 or later).
package rabbitmq
