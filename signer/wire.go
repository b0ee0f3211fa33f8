package signer

import (
	"fmt"

	"github.com/alphaonedev/federation/internal/fault"
)

// A Wire is the profile that two nodes speak. It is fixed per peer, in both directions; a message in
// another is refused, never negotiated.
type Wire uint8

const (
	// WireFederation is RFC 9421 under the profiles of docs/wire.md. It is the default.
	WireFederation Wire = iota
	// WireAIMemory is the profile of existing ai-memory nodes, release 0.7.0: x-memory-sig over body and
	// nonce. It binds neither method, path, recipient nor time, so a replay after
	// VerifierConfig.AIMemoryWindow, or across a restart, is only stopped by the application's own ids.
	WireAIMemory
)

// String is "federation" or "ai-memory".
func (w Wire) String() string {
	switch w {
	case WireFederation:
		return "federation"
	case WireAIMemory:
		return "ai-memory"
	}
	return fmt.Sprintf("Wire(%d)", uint8(w))
}

// MarshalText is String, for configurations and reports in JSON and the like.
func (w Wire) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads what MarshalText writes, and "" as the default. Its error wraps ErrConfig.
func (w *Wire) UnmarshalText(text []byte) error {
	switch string(text) {
	case "", WireFederation.String():
		*w = WireFederation
	case WireAIMemory.String():
		*w = WireAIMemory
	default:
		return fmt.Errorf("signer: no wire is called %.40q: %w; %q and %q are", text, fault.ErrConfig, WireFederation, WireAIMemory)
	}
	return nil
}

// The header fields of the federation profile, in the form of http.Header's keys.
const (
	HeaderSignatureInput = "Signature-Input"
	HeaderSignature      = "Signature"
	HeaderContentDigest  = "Content-Digest"
	HeaderTo             = "Federation-To"
	HeaderOperation      = "Federation-Op"
	HeaderRefusal        = "Federation-Refusal" // of a response: the tag of a refusal
	HeaderEpoch          = "Federation-Epoch"   // of a response with the tag TagSignAgain
)

// The header fields of the ai-memory profile, in the form of http.Header's keys.
const (
	HeaderMemorySig      = "X-Memory-Sig"
	HeaderMemoryNonce    = "X-Memory-Nonce"
	HeaderPeerID         = "X-Peer-Id"
	HeaderIdempotencyKey = "Idempotency-Key"
)
