package outbox_test

import (
	"fmt"
	"testing"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/outboxtest"
)

func TestMemory(t *testing.T) {
	outboxtest.Run(t, func(_ *testing.T, limits outbox.Limits) outbox.Store { return outbox.NewMemory(limits) })
}

func TestLimitsHaveDefaultsAndCanBeOff(t *testing.T) {
	l := outbox.Limits{}.WithDefaults()
	if l.Bytes != 64<<20 || l.Age.Hours() != 7*24 {
		t.Errorf("defaults %+v", l)
	}
	if off := (outbox.Limits{Bytes: -1, Age: -1}).WithDefaults(); off.Bytes != -1 || off.Age != -1 || !off.Fits(1<<60, 1<<60) {
		t.Errorf("off: %+v", off)
	}
}

func ExampleNewMemory() {
	store := outbox.NewMemory(outbox.Limits{Bytes: 8 << 20}) // for each peer
	fmt.Println(store.Limits().Bytes, store.Limits().Age)
	// Output: 8388608 168h0m0s
}
