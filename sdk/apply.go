package sdk

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// apply hands what is in service to the transport. A failure keeps what the transport had, and is an event.
func (f *Federation) apply(role Role) {
	if err := f.update(); err != nil && !f.isClosed() {
		f.events.emit(Event{Kind: EventRefused, Role: role, Detail: "the connections keep the material that they had", Err: err})
	}
}

// update gives the transport the material that is in service. It returns when trust and peers are in force and
// an identity that is new serves.
func (f *Federation) update() error {
	if f.state.Load() == nil || f.isClosed() {
		return nil // Build applies what is in service by then; after Close there is nothing to apply to
	}
	return f.transport.UpdateFrom(f.ctx, f.material)
}

func (f *Federation) material() transport.Material {
	m := transport.Material{
		Trust:      f.global.serving.Load().trust,
		Peers:      f.state.Load().transportPeers(f.global),
		Distrusted: f.distrustedDigests(),
	}
	if i := f.serving.Load(); i != nil {
		m.Identity = i.cert
	}
	return m
}

// A distrusted is something that Distrust took out of service.
type distrusted struct {
	text    string
	digest  [sha256.Size]byte // of a certificate or a SubjectPublicKeyInfo
	keyID   string            // or the thumbprint of a signing key
	isKeyID bool
}

// Distrust takes certificates and keys out of service at once, whatever vouches for them, until the Federation
// is closed: connections that depend on one are cut in the middle of a request if need be, and messages signed
// with one are refused. Each is a SHA-256 fingerprint of a certificate or of a SubjectPublicKeyInfo, in
// hexadecimal (colons allowed) or base64 with or without "sha256/", or the thumbprint of a signing key
// (RFC 7638). Fingerprint and signer.Thumbprint make them. Nothing is kept on disk: a caller that restarts says
// it again.
func (f *Federation) Distrust(fingerprints ...string) error {
	if f.isClosed() {
		return closedError("distrust")
	}
	var add []distrusted
	for _, s := range fingerprints {
		d, err := parseFingerprint(s)
		if err != nil {
			return fmt.Errorf("sdk: distrust: %q %w", s, err)
		}
		add = append(add, d)
	}
	f.distrustMu.Lock()
	for _, d := range add {
		if !slices.ContainsFunc(f.distrusted, func(o distrusted) bool { return o.text == d.text }) {
			f.distrusted = append(f.distrusted, d)
		}
	}
	f.distrustMu.Unlock()
	if err := f.update(); err != nil {
		return fmt.Errorf("sdk: distrust: %w", err)
	}
	for _, d := range add {
		f.events.emit(Event{Kind: EventDistrusted, Detail: d.text + " is distrusted"})
	}
	f.lookAtStranded()
	return nil
}

// Fingerprint is the SHA-256 fingerprint of a certificate, as Distrust takes it.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func parseFingerprint(s string) (distrusted, error) {
	plain := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if raw, err := hex.DecodeString(plain); err == nil && len(raw) == sha256.Size {
		return distrusted{text: plain, digest: [32]byte(raw)}, nil
	}
	if digest, err := parsePin(s); err == nil {
		return distrusted{text: hex.EncodeToString(digest[:]), digest: digest}, nil
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(s); err == nil && len(raw) == sha256.Size {
		return distrusted{text: s, keyID: s, isKeyID: true}, nil
	}
	return distrusted{}, fmt.Errorf("is no SHA-256 fingerprint and no key thumbprint: %w; give 64 hexadecimal digits, 44 characters of base64, or 43 of base64url", ErrConfig)
}

func (f *Federation) distrustedDigests() [][32]byte {
	f.distrustMu.Lock()
	defer f.distrustMu.Unlock()
	var out [][32]byte
	for _, d := range f.distrusted {
		if !d.isKeyID {
			out = append(out, d.digest)
		}
	}
	return out
}

// distrustsKey reports whether Distrust named a signing key, by its thumbprint or its SubjectPublicKeyInfo.
func (f *Federation) distrustsKey(v *signer.Verified) bool {
	f.distrustMu.Lock()
	defer f.distrustMu.Unlock()
	if len(f.distrusted) == 0 {
		return false
	}
	spki, err := x509.MarshalPKIXPublicKey(v.Key)
	sum := sha256.Sum256(spki)
	return slices.ContainsFunc(f.distrusted, func(d distrusted) bool {
		return d.isKeyID && d.keyID == v.KeyID || err == nil && !d.isKeyID && d.digest == sum
	})
}

func (f *Federation) distrustedTexts() []string {
	f.distrustMu.Lock()
	defer f.distrustMu.Unlock()
	out := make([]string, len(f.distrusted))
	for i, d := range f.distrusted {
		out[i] = d.text
	}
	return out
}
