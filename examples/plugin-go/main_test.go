package main

import (
	"testing"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
)

func TestThePluginConforms(t *testing.T) {
	plugincheck.Run(t, plugincheck.Build(t, "examples/plugin-go"))
}
