module headgate.example/lib

go 1.26

