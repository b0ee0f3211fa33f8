package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alphaonedev/federation/sdk"
)

func newECDSA() (any, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newEd25519() (any, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// load reads a key of the state folder, and makes it the first time. The caller holds mu.
func (n *node) load(name string, fresh func() (any, error)) (any, error) {
	path := filepath.Join(n.state, name)
	der, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n.create(path, fresh)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", sdk.ErrPermission, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no key; remove it to begin anew", sdk.ErrMaterial, path)
	}
	return key, nil
}

// create writes the file whole or not at all.
func (n *node) create(path string, fresh func() (any, error)) (any, error) {
	key, err := fresh()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path+".new", der, 0o600); err != nil {
		return nil, fmt.Errorf("%w: %w", sdk.ErrPermission, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("%w: %w", sdk.ErrPermission, err)
	}
	return key, nil
}
