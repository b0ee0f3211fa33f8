package main

import (
	"testing"

	"github.com/alphaonedev/federation/examples/internal/plugincheck"
)

func example(t *testing.T) plugincheck.Example {
	return plugincheck.Example{Path: plugincheck.Build(t, "examples/plugin-go")}
}

func TestThePluginConforms(t *testing.T) { plugincheck.Run(t, example(t).Path) }

func TestANewProcessServesWithTheChainOfTheOldOne(t *testing.T) { example(t).KeepsItsChain(t) }

func TestAFailedRenewalIsNotRepeatedAtOnce(t *testing.T) { example(t).HurriesNoFailedRenewal(t) }

func TestAConfigurationIsJudgedWithoutBeingUsed(t *testing.T) { example(t).JudgesWithoutUse(t) }
