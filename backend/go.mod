module headgate.example/backend

go 1.26

replace (
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
	headgate.example/counter => ../counter
)
