// Package testport finds ports for servers that a test stops and starts again at the same address.
//
// A port that the system gave for ":0" is one that it gives to the next process that asks, and to outgoing connections, for
// as long as nobody listens there. These are below those: nobody gets one without asking for it.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Systems give ports from 32768 on by themselves (Linux), or from 49152 on (RFC 6335, section 6).
const low, high = 20000, 32768

// Pick returns an address on loopback, "127.0.0.1:port", at which nobody listens. Nothing holds it.
func Pick() (string, error) {
	var err error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(low+rand.IntN(high-low)))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("testport: no free port: %w", err)
}
