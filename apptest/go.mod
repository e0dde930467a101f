module headgate.example/apptest

go 1.26

