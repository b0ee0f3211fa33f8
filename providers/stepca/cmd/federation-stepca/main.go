// Command federation-stepca gives a node trust, identity and signing keys from step-ca, out of the node's process. It is started
// by the node (plugin.Open), never by hand; package stepcaplugin lists its settings.
package main

import (
	"github.com/alphaonedev/federation/providers/stepca/stepcaplugin"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func main() {
	(&plugin.Server{Name: "stepca", Configure: stepcaplugin.Configure, Validate: stepcaplugin.Validate}).Serve()
}
