package plugin

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/alphaonedev/federation/internal/fault"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A remoteSigner is the private key of an identity, in the plugin. Every signature is verified before it is
// returned.
type remoteSigner struct {
	p      *Plugin
	public crypto.PublicKey
	print  []byte
}

var _ crypto.Signer = (*remoteSigner)(nil)

func (s *remoteSigner) Public() crypto.PublicKey { return s.public }

// Sign has no context of its own: Limits.Sign bounds it.
func (s *remoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignContext(context.Background(), digest, opts)
}

// SignContext is Sign within ctx, and within Limits.Sign.
func (s *remoteSigner) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := signRequest(s.public, s.print, digest, opts)
	if err != nil {
		return nil, err
	}
	var sig []byte
	err = s.p.call(ctx, fault.RoleIdentity, "sign", s.p.limits.Sign, true, func(ctx context.Context, in *instance) (err error) {
		sig, err = s.p.signTLS(ctx, in, s.public, r)
		return err
	})
	if errors.Is(err, errStale) {
		s.p.kick(fault.RoleIdentity)
	}
	return sig, err
}

// maxSignature bounds what a signature may be: that of RSA with 16384 bits.
const maxSignature = 2048

func (p *Plugin) signTLS(ctx context.Context, in *instance, pub crypto.PublicKey, r *pluginpb.IdentitySignRequest) ([]byte, error) {
	answer, err := in.identity.Sign(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(answer.Signature) > maxSignature {
		return nil, p.reject(in, fault.RoleIdentity, fmt.Errorf("%w: a signature of %d octets", fault.ErrMaterial, len(answer.Signature)))
	}
	if err := verify(pub, r, answer.Signature); err != nil {
		return nil, p.reject(in, fault.RoleIdentity, err)
	}
	return answer.Signature, nil
}

// A remoteKey is a message-signing key in the plugin. Every signature is verified before it is returned.
type remoteKey struct {
	p      *Plugin
	public ed25519.PublicKey
	print  []byte
}

func (k *remoteKey) Public() crypto.PublicKey { return k.public }

// Sign signs within ctx, and within Limits.Call.
func (k *remoteKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	var sig []byte
	err := k.p.call(ctx, fault.RoleKey, "sign", k.p.limits.Call, true, func(ctx context.Context, in *instance) (err error) {
		sig, err = k.p.signMessage(ctx, in, k.public, k.print, message)
		return err
	})
	if errors.Is(err, errStale) {
		k.p.kick(fault.RoleKey)
	}
	return sig, err
}

func (p *Plugin) signMessage(ctx context.Context, in *instance, pub ed25519.PublicKey, print, message []byte) ([]byte, error) {
	answer, err := in.key.Sign(ctx, &pluginpb.KeySignRequest{Fingerprint: print, Message: message})
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(pub, message, answer.Signature) {
		return nil, p.reject(in, fault.RoleKey, fmt.Errorf("%w: %w", fault.ErrMaterial, errSignature))
	}
	return answer.Signature, nil
}

// proofs remembers for which keys a generation has proved that it holds the private half.
type proofs struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (p *proofs) has(print []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[string(print)]
}

func (p *proofs) add(print []byte) {
	const most = 64
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) >= most || p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[string(print)] = true
}

// proofDomain keeps what is signed as a proof apart from anything that is signed for use.
const proofDomain = "federation plugin: proof of possession\x00"

// proofInput makes what is to be signed as a proof: fresh, and of no other meaning.
func proofInput() []byte { return append([]byte(proofDomain), rand.Text()...) }

// proveIdentity has the plugin show that it holds the key of a chain, once for each key and generation.
func (p *Plugin) proveIdentity(ctx context.Context, in *instance, id *checkedIdentity) error {
	if in.proof.has(id.print) {
		return nil
	}
	opts, err := schemeOpts(id.schemes[0])
	if err != nil {
		return err
	}
	input := proofInput()
	if h := opts.HashFunc(); h != 0 {
		w := h.New()
		w.Write(input)
		input = w.Sum(nil)
	}
	r, err := signRequest(id.leaf.PublicKey, id.print, input, opts)
	if err != nil {
		return err
	}
	if _, err := p.signTLS(ctx, in, id.leaf.PublicKey, r); err != nil {
		return err
	}
	in.proof.add(id.print)
	return nil
}

// proveKey is proveIdentity for a message-signing key.
func (p *Plugin) proveKey(ctx context.Context, in *instance, pub ed25519.PublicKey, print []byte) error {
	if in.proof.has(print) {
		return nil
	}
	if _, err := p.signMessage(ctx, in, pub, print, proofInput()); err != nil {
		return err
	}
	in.proof.add(print)
	return nil
}
