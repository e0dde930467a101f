module headgate.example/counter

go 1.26

replace (
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
)
