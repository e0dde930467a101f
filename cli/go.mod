module headgate.example/cli

go 1.26

replace (
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
	headgate.example/counter => ../counter
	headgate.example/interceptor => ../interceptor
	headgate.example/backend => ../backend
	headgate.example/consumer => ../consumer
)
