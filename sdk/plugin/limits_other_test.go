//go:build !linux

package plugin_test

// limits cannot tell here.
func limits() string { return "" }
