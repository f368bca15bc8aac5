module quorate.dev/local/pod

go 1.25.0
