module headgate.example/cli

go 1.26

replace (
	headgate.example/backend => ../backend
	headgate.example/consumer => ../consumer
	headgate.example/counter => ../counter
	headgate.example/hashring => ../hashring
	headgate.example/interceptor => ../interceptor
	headgate.example/lib => ../lib
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	headgate.example/backend v0.0.0
	headgate.example/consumer v0.0.0
	headgate.example/counter v0.0.0
	headgate.example/hashring v0.0.0
	headgate.example/interceptor v0.0.0
	headgate.example/lib v0.0.0
)
