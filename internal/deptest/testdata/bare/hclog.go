//go:build hclog

package main

import "github.com/hashicorp/go-hclog"

// What the library needs of the logger that users give it.
func init() {
	var l hclog.Logger = hclog.NewNullLogger()
	l.Info("bare")
}
