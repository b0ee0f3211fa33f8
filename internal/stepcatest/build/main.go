// Command build builds the step-ca command that the tests need, unless it is there already.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/alphaonedev/federation/internal/stepcatest"
)

func main() {
	fmt.Fprintln(os.Stderr, "build: the step-ca command for tests, unless it is there; the first time takes minutes")
	path, err := stepcatest.Build(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "build: it is", path)
}
