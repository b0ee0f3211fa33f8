//go:build serve

package main

import (
	"fmt"
	"net/http"
)

func init() {
	srv := &http.Server{Addr: ":9077"}
	fmt.Println(srv.ListenAndServeTLS("node.pem", "node-key.pem"))
}
