package signer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/alphaonedev/federation/internal/fault"
)

// ErrStatement says that a signature does not hold for the statement it came with.
var ErrStatement = errors.New("statement signature does not verify")

// MaxDomain is the greatest length of a statement's domain, in bytes.
const MaxDomain = 64

// statementPrefix opens the signed bytes of every statement, and of nothing else: a signature base opens
// with a quotation mark, and 0xff never occurs in UTF-8, so no JSON body opens with it (the ai-memory
// profile neither signs nor takes one that does).
const statementPrefix = "\xfffederation-statement-v1\x00"

// SignStatement signs a payload that stands apart from HTTP: an ack, a receipt. The signed bytes are
// statementPrefix, one byte with the length of domain, domain, payload; docs/wire.md specifies them. The
// domain says what kind of statement it is and in which version ("ack/1"), so that no statement can pass
// for one of another kind. It is 1 to 64 printable ASCII characters without a space; another matches
// ErrConfig. The context bounds a key that lives elsewhere. The signature is checked before it is
// returned; one that does not hold matches ErrMaterial. The payload is only read during the call.
func SignStatement(ctx context.Context, key Key, domain string, payload []byte) ([]byte, error) {
	if key == nil {
		return nil, fmt.Errorf("signer: statement %q: no key: %w", domain, fault.ErrConfig)
	}
	pub, err := PublicKeyOf(key.Public())
	if err != nil {
		return nil, err
	}
	if !validDomain(domain) {
		return nil, fmt.Errorf("signer: statement domain %.70q, want 1 to %d printable ASCII characters without a space: %w", domain, MaxDomain, fault.ErrConfig)
	}
	return signChecked(ctx, key, pub, statementBytes(domain, payload))
}

// VerifyStatement checks a signature made by SignStatement. It returns nil, or an error that matches
// ErrStatement. It is safe for concurrent use and keeps nothing.
func VerifyStatement(pub ed25519.PublicKey, domain string, payload, sig []byte) error {
	if !validDomain(domain) || !holds(pub, statementBytes(domain, payload), sig) {
		return fmt.Errorf("signer: %.70q: %w", domain, ErrStatement)
	}
	return nil
}

func statementBytes(domain string, payload []byte) []byte {
	b := make([]byte, 0, len(statementPrefix)+1+len(domain)+len(payload))
	b = append(b, statementPrefix...)
	b = append(b, byte(len(domain)))
	b = append(b, domain...)
	return append(b, payload...)
}

func validDomain(s string) bool {
	if s == "" || len(s) > MaxDomain {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// signChecked signs and checks what the key returned, unless the key lives in this process.
func signChecked(ctx context.Context, key Key, pub ed25519.PublicKey, message []byte) ([]byte, error) {
	sig, err := key.Sign(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("signer: sign: %w", err)
	}
	if inProcess(key) {
		return sig, nil
	}
	if len(sig) != ed25519.SignatureSize {
		return nil, fmt.Errorf("signer: the key returned a signature of %d bytes, want %d: %w", len(sig), ed25519.SignatureSize, fault.ErrMaterial)
	}
	if !ed25519.Verify(pub, message, sig) {
		return nil, fmt.Errorf("signer: the key returned a signature that its public key %s does not verify: %w", Thumbprint(pub), fault.ErrMaterial)
	}
	return sig, nil
}
