package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func newECDSA() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newEd25519() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// load reads a key of the state folder, and makes it the first time. The caller holds mu.
func load[K any](n *node, name string, fresh func() (K, error)) (key K, err error) {
	path := filepath.Join(n.state, name)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(path, fresh)
	case err != nil:
		return key, fmt.Errorf("%w: %w", sdk.ErrPermission, err)
	}
	if block, _ := pem.Decode(text); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(K); err == nil && ok {
			return key, nil
		}
	}
	return key, fmt.Errorf("%w: %s is no such key; remove it to begin anew", sdk.ErrMaterial, path)
}

func create[K any](path string, fresh func() (K, error)) (key K, err error) {
	if key, err = fresh(); err != nil {
		return key, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return key, err
	}
	if err := write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return key, fmt.Errorf("%w: %w", sdk.ErrPermission, err)
	}
	return key, nil
}

// write writes a file whole or not at all, for the plugin's own eyes.
func write(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// An issued is a chain with its key, and when to renew it.
type issued struct {
	cert  *tls.Certificate
	renew time.Time
}

func issue(cert *tls.Certificate) *issued {
	leaf := cert.Leaf
	return &issued{cert, leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)}
}

func (i *issued) of(key *ecdsa.PrivateKey) bool { return key.PublicKey.Equal(i.cert.Leaf.PublicKey) }

func (n *node) chainFile() string { return filepath.Join(n.state, "chain.pem") }

// owner begins the file of the chain, which is of no use for another name or authority.
func (n *node) owner() []byte { return fmt.Appendf(nil, "%s %s\n", n.name, n.ca.sha256) }

// keep writes the chain beside its key: the next process serves with it while the authority is away.
func (n *node) keep(ctx context.Context) {
	text := n.owner()
	for _, der := range n.issued.cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := write(n.chainFile(), text); err != nil {
		plugin.Logger(ctx).Warn("cannot keep the chain; the next process must enrol", "error", err)
	}
}

// kept returns what a process before this one was issued for the key, if it has not ended.
func (n *node) kept(ctx context.Context, key *ecdsa.PrivateKey) *issued {
	text, err := os.ReadFile(n.chainFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var i *issued
	if err == nil {
		rest, ours := bytes.CutPrefix(text, n.owner())
		if !ours {
			return nil
		}
		var pair tls.Certificate
		for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
			pair.Certificate = append(pair.Certificate, block.Bytes)
		}
		if pair.PrivateKey = key; len(pair.Certificate) == 0 {
			err = errors.New("no certificate is in it")
		} else if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err == nil {
			i = issue(&pair)
		}
	}
	if err != nil {
		plugin.Logger(ctx).Warn("cannot use the chain that was kept", "file", n.chainFile(), "error", err)
		return nil
	}
	if !i.of(key) || time.Now().After(i.cert.Leaf.NotAfter) {
		return nil
	}
	return i
}
