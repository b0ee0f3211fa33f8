//go:build idna

package main

import (
	"fmt"
	"os"

	"golang.org/x/net/idna"
)

// What peers' host names outside ASCII need.
func init() { fmt.Println(idna.Lookup.ToASCII(os.Args[0])) }
