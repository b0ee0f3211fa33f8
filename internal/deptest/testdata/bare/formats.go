//go:build formats

package main

import (
	"fmt"
	"os"

	"golang.org/x/crypto/scrypt"
	"golang.org/x/crypto/ssh"
	"software.sslmate.com/src/go-pkcs12"
)

// What key files need that are neither plain PEM nor DER.
func init() {
	data := []byte(os.Args[0])
	fmt.Println(pkcs12.DecodeChain(data, "passphrase"))
	fmt.Println(ssh.ParseRawPrivateKey(data))
	fmt.Println(ssh.ParseRawPrivateKeyWithPassphrase(data, data))
	fmt.Println(scrypt.Key(data, data, 1<<15, 8, 1, 32))
}
