package vaulttest

import (
	"io"
	"log"
)

func silent() *log.Logger { return log.New(io.Discard, "", 0) }
