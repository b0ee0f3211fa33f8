//go:build !unix

package main

import "github.com/alphaonedev/federation/internal/wan"

func onSignals(*wan.Network) func() { return func() {} }
