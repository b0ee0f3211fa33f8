// Command ca runs the small certificate authority that the plugin examples enrol with, and prints how a
// plugin is told of it.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/alphaonedev/federation/examples/internal/smallca"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8443", "address")
	life := flag.Duration("life", time.Hour, "life of the certificates")
	flag.Parse()
	ca, err := smallca.Start(*addr, *life)
	if err != nil {
		log.Fatal(err)
	}
	defer ca.Close()
	fmt.Printf("-set url=%s -set root-sha256=%s -secret token=%s\n", ca.URL, ca.SHA256, ca.Token)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
}
