// Package pluginpb is the wire between a federation node and a plugin: the messages and services of
// plugin.proto, generated. It is for plugin authors who speak gRPC themselves and for package plugin; Go
// authors need only plugin.Serve.
//
// A released message never changes its meaning: fields are added, with new numbers, and nothing is removed,
// renumbered or retyped. A test compares the current form with testdata/v1.binpb.
//
// The generator and its tools are pinned in the nested module gen:
//
//	cd sdk/plugin/proto/gen && go run . -out ..
package pluginpb
