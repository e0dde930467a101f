module headgate.example/counter

go 1.26

require (
	github.com/hashicorp/raft v1.7.3
	github.com/hashicorp/raft-wal v0.4.2
	github.com/redis/rueidis v1.0.79
	headgate.example/hashring v0.0.0
	headgate.example/lib v0.0.0
)

replace (
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
)
