// Command build builds the Vault server that the tests need, unless it is there already.
package main

import (
	"fmt"
	"os"

	"github.com/alphaonedev/federation/internal/vaulttest/vaultbin"
)

func main() {
	if err := vaultbin.Build(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
