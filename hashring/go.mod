module headgate.example/hashring

go 1.26

