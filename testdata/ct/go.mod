module vectors

go 1.24.0

require github.com/google/certificate-transparency-go v1.4.0

require golang.org/x/crypto v0.48.0 // indirect
