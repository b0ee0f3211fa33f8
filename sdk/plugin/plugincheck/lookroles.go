package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/sdk/plugin"
	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// open opens the plugin as a node does.
func (t *target) open(ctx context.Context) (*plugin.Plugin, error) {
	return plugin.Open(ctx, t.config())
}

func lookAlgorithms(ctx context.Context, t *target) error {
	p, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	provider, err := p.Identity()
	if err != nil {
		return skip{"this configuration does not give the plugin the role identity"}
	}
	id, err := provider.Identity(ctx)
	if err != nil {
		return err
	}
	if err := t.foreignSchemes(ctx, id.Certificate.SupportedSignatureAlgorithms); err != nil {
		return err
	}
	for _, scheme := range id.Certificate.SupportedSignatureAlgorithms {
		version := uint16(tls.VersionTLS13)
		switch scheme {
		case tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512:
			version = tls.VersionTLS12 // TLS 1.3 has no RSA PKCS #1 v1.5 in handshakes
		}
		cert := *id.Certificate
		cert.SupportedSignatureAlgorithms = []tls.SignatureScheme{scheme}
		if err := handshake(ctx, &cert, version); err != nil {
			return fmt.Errorf("%v: %w", scheme, err)
		}
	}
	return nil
}

// foreignSchemes reports a declared scheme that the leaf's key cannot do. The node leaves it out, as it does those that
// it does not know.
func (t *target) foreignSchemes(ctx context.Context, able []tls.SignatureScheme) error {
	p, _, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	r, err := pluginpb.NewIdentityClient(p.conn).Identity(ctx, &pluginpb.IdentityRequest{})
	if err != nil {
		return err
	}
	for _, declared := range r.SignatureSchemes {
		s := tls.SignatureScheme(declared)
		if known(declared) && !slices.Contains(able, s) {
			return fmt.Errorf("%v (0x%04x) is declared, which the leaf's key cannot do; it can do %v", s, uint16(s), able)
		}
	}
	return nil
}

// handshake makes a connection in memory, in which both sides prove themselves with cert.
func handshake(ctx context.Context, cert *tls.Certificate, version uint16) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	config := &tls.Config{
		MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{*cert},
		InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert, // the signature is looked at, not the chain
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}
	served := make(chan error, 1)
	go func() {
		s := tls.Server(a, config)
		err := s.HandshakeContext(ctx)
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		if err != nil {
			a.Close()
		}
		served <- err
	}()
	_, err := tls.Client(b, config).Read(make([]byte, 1))
	if err != nil {
		b.Close()
	}
	return errors.Join(err, <-served)
}

func lookStale(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if !has(roles, pluginpb.Role_ROLE_IDENTITY) && !has(roles, pluginpb.Role_ROLE_KEY) {
		return skip{"the plugin has no key"}
	}
	other := sha256.Sum256([]byte("a key that nobody has"))
	digest := sha256.Sum256([]byte("x"))
	if has(roles, pluginpb.Role_ROLE_IDENTITY) {
		_, err := pluginpb.NewIdentityClient(p.conn).Sign(ctx, &pluginpb.IdentitySignRequest{
			Fingerprint: other[:], Algorithm: pluginpb.SignatureAlgorithm_SIGNATURE_ALGORITHM_ECDSA,
			Hash: pluginpb.Hash_HASH_SHA256, Input: digest[:],
		})
		if status.Code(err) != codes.Aborted {
			return fmt.Errorf("Identity.Sign: %v, want ABORTED", err)
		}
	}
	if has(roles, pluginpb.Role_ROLE_KEY) {
		_, err := pluginpb.NewKeyClient(p.conn).Sign(ctx, &pluginpb.KeySignRequest{Fingerprint: other[:], Message: []byte("x")})
		if status.Code(err) != codes.Aborted {
			return fmt.Errorf("Key.Sign: %v, want ABORTED", err)
		}
	}
	if t.rotate == "" {
		return nil
	}
	return t.staleAfterRotation(ctx, p, roles)
}

// staleAfterRotation asks for signatures with the keys of before a rotation: the plugin may have them yet.
func (t *target) staleAfterRotation(ctx context.Context, p *process, roles []pluginpb.Role) error {
	before, err := p.keys(ctx, roles)
	if err != nil {
		return err
	}
	if err := t.rotated(); err != nil {
		return err
	}
	if _, err := p.keys(ctx, roles); err != nil {
		return fmt.Errorf("after a rotation: %w%s", err, p.tail())
	}
	for _, k := range before {
		signature, err := k.sign(ctx)
		switch {
		case err == nil && !k.verify(signature):
			return fmt.Errorf("%v: after a rotation a request for the old key is answered with another's signature", k.role)
		case err != nil && status.Code(err) != codes.Aborted:
			return fmt.Errorf("%v: after a rotation, a request for the old key: %w, want its signature or ABORTED", k.role, err)
		}
	}
	return nil
}

// signers returns what the plugin can sign with: functions that sign once. The signatures have been verified
// when they return.
func signers(ctx context.Context, p *plugin.Plugin) ([]func(context.Context) error, error) {
	var out []func(context.Context) error
	if provider, err := p.Identity(); err == nil {
		id, err := provider.Identity(ctx)
		if err != nil {
			return nil, err
		}
		key := id.Certificate.PrivateKey.(crypto.Signer)
		// What the key has declared, and no more: one in a vault may do nothing else.
		schemes := id.Certificate.SupportedSignatureAlgorithms
		if len(schemes) == 0 {
			return nil, errors.New("the identity declares no signature scheme")
		}
		input, opts := toSign(schemes[0])
		out = append(out, func(context.Context) error {
			_, err := key.Sign(rand.Reader, input, opts)
			return err
		})
	}
	if provider, err := p.Key(); err == nil {
		set, err := provider.SigningKeys(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, func(ctx context.Context) error {
			_, err := set.Active.Sign(ctx, []byte("plugincheck"))
			return err
		})
	}
	if len(out) == 0 {
		return nil, skip{"the plugin has no key"}
	}
	return out, nil
}

// schemeHashes are the schemes that a node uses, each with its hash; 0 is none.
var schemeHashes = map[tls.SignatureScheme]crypto.Hash{
	tls.Ed25519:                0,
	tls.ECDSAWithP256AndSHA256: crypto.SHA256, tls.ECDSAWithP384AndSHA384: crypto.SHA384, tls.ECDSAWithP521AndSHA512: crypto.SHA512,
	tls.PSSWithSHA256: crypto.SHA256, tls.PSSWithSHA384: crypto.SHA384, tls.PSSWithSHA512: crypto.SHA512,
	tls.PKCS1WithSHA256: crypto.SHA256, tls.PKCS1WithSHA384: crypto.SHA384, tls.PKCS1WithSHA512: crypto.SHA512,
}

// known reports whether a node uses a scheme. It leaves out others that are declared.
func known(declared uint32) bool {
	s := tls.SignatureScheme(declared)
	_, ok := schemeHashes[s]
	return ok && uint32(s) == declared
}

// toSign is something to sign with a scheme that a node uses.
func toSign(s tls.SignatureScheme) ([]byte, crypto.SignerOpts) {
	switch hash := schemeHashes[s]; {
	case hash == 0:
		return signed, hash
	case s == tls.PSSWithSHA256 || s == tls.PSSWithSHA384 || s == tls.PSSWithSHA512:
		return sum(hash), &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
	default:
		return sum(hash), hash
	}
}

func lookSignTogether(ctx context.Context, t *target) error {
	p, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	sign, err := signers(ctx, p)
	if err != nil {
		return err
	}
	errs := make([]error, 100)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = sign[i%len(sign)](ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func lookWatch(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	watched := 0
	before, measured := usage(p.cmd.Process.Pid)
	for _, role := range roles {
		switch err := watchOnce(ctx, p, role); {
		case errors.As(err, new(skip)):
			continue
		case err != nil:
			return fmt.Errorf("%v: %w", role, err)
		}
		watched++
		if err := watchOnce(ctx, p, role); err != nil {
			return fmt.Errorf("%v, resumed: %w", role, err)
		}
		// Twenty readers that never read.
		slow, cancel := context.WithCancel(ctx)
		defer cancel()
		for range 20 {
			if _, err := openWatch(slow, p, role); err != nil {
				return fmt.Errorf("%v, many at once: %w", role, err)
			}
		}
		quick, done := context.WithTimeout(ctx, 30*time.Second)
		err := p.serves(quick, roles)
		done()
		if err != nil {
			return fmt.Errorf("with twenty slow readers, pulls fail: %w", err)
		}
		cancel()
	}
	if watched == 0 {
		return errNoWatch
	}
	if !measured {
		return nil
	}
	after := before
	for range 50 { // the ends of the streams reach it
		if after, _ = usage(p.cmd.Process.Pid); after.files <= before.files+16 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("its descriptors went from %d to %d with watches that have ended", before.files, after.files)
}

type receiver interface {
	Recv() (*pluginpb.WatchResponse, error)
}

func openWatch(ctx context.Context, p *process, role pluginpb.Role) (receiver, error) {
	switch role {
	case pluginpb.Role_ROLE_TRUST:
		return pluginpb.NewTrustClient(p.conn).Watch(ctx, &pluginpb.WatchRequest{})
	case pluginpb.Role_ROLE_IDENTITY:
		return pluginpb.NewIdentityClient(p.conn).Watch(ctx, &pluginpb.WatchRequest{})
	default:
		return pluginpb.NewKeyClient(p.conn).Watch(ctx, &pluginpb.WatchRequest{})
	}
}

// watchOnce opens a watch, takes its first message, and goes away.
func watchOnce(ctx context.Context, p *process, role pluginpb.Role) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	stream, err := openWatch(ctx, p, role)
	if err == nil {
		_, err = stream.Recv()
	}
	switch {
	case status.Code(err) == codes.Unimplemented:
		return errNoWatch
	case errors.Is(err, io.EOF):
		return errors.New("no message came before the stream ended")
	case status.Code(err) == codes.DeadlineExceeded:
		return errors.New("no message came within 30 s of opening the stream")
	}
	return err
}
