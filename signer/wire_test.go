package signer_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/alphaonedev/federation/signer"
)

func TestWireInText(t *testing.T) {
	for text, want := range map[string]signer.Wire{
		`""`: signer.WireFederation, `"federation"`: signer.WireFederation, `"ai-memory"`: signer.WireAIMemory,
	} {
		got := signer.WireAIMemory
		if want == got {
			got = signer.WireFederation
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	var w signer.Wire
	if err := json.Unmarshal([]byte(`"AI-Memory"`), &w); !errors.Is(err, signer.ErrConfig) {
		t.Errorf("got %v, want ErrConfig", err)
	}
	if b, err := json.Marshal(signer.WireAIMemory); err != nil || string(b) != `"ai-memory"` {
		t.Errorf("%s, %v", b, err)
	}
}
