// Command build builds the Vault server that the tests need, unless it is there already.
package main

import (
	"fmt"
	"os"

	"github.com/alphaonedev/federation/internal/vaulttest"
)

func main() {
	if err := vaulttest.Build(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
