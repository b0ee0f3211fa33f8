// Bare is a client of net/http with a certificate: what a program is without the library. It is built
// and never run; each build tag links one thing more that the library builds on.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
)

func main() {
	roots := x509.NewCertPool()
	pem, err := os.ReadFile("ca.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	roots.AppendCertsFromPEM(pem)
	cert, err := tls.LoadX509KeyPair("node.pem", "node-key.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
	}}
	resp, err := client.Get("https://b.example:9077/")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Status)
	_ = resp.Body.Close()
}
