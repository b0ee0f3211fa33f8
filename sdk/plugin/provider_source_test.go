package plugin_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/signer"
)

// A folderSource is a provider of every role over a folder: roots.pem, identity.pem, seed, and broken, which
// names a sentinel. It stands for a backend that a test can move from another process.
type folderSource struct{ dir string }

var sentinels = map[string]error{
	"not-found": fault.ErrNotFound, "unavailable": fault.ErrUnavailable, "permission": fault.ErrPermission,
	"expired": fault.ErrExpired, "config": fault.ErrConfig, "material": fault.ErrMaterial,
	"unsupported": fault.ErrUnsupported, "closed": fault.ErrClosed,
}

func folder(_ context.Context, s plugin.Settings) (plugin.Providers, error) {
	if err := s.Only("dir", "watch"); err != nil {
		return plugin.Providers{}, err
	}
	f := folderSource{s.Values["dir"]}
	if _, err := os.Stat(f.dir); err != nil {
		return plugin.Providers{}, fmt.Errorf("%w: dir: %w", fault.ErrConfig, err)
	}
	if s.Values["watch"] == "no" {
		return plugin.Providers{Trust: trustFunc(f.TrustBundle), Identity: identityFunc(f.Identity), Key: keyFunc(f.SigningKeys)}, nil
	}
	return plugin.Providers{Trust: f, Identity: f, Key: f}, nil
}

func (f folderSource) read(name string) ([]byte, error) {
	if b, err := os.ReadFile(filepath.Join(f.dir, "broken")); err == nil {
		return nil, fmt.Errorf("the source is broken on purpose: %w", sentinels[strings.TrimSpace(string(b))])
	}
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", fault.ErrNotFound, err)
	}
	return b, err
}

func (f folderSource) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := f.read("roots.pem")
	if err != nil {
		return nil, err
	}
	roots, err := parseRoots(string(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fault.ErrMaterial, err)
	}
	bundle := &sdk.TrustBundle{Roots: roots, RefreshAfter: time.Minute}
	if why, err := f.read("partial"); err == nil {
		bundle.Partial = errors.New(string(why))
	}
	return bundle, nil
}

func (f folderSource) Identity(ctx context.Context) (*sdk.Identity, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := f.read("identity.pem")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fault.ErrMaterial, err)
	}
	return &sdk.Identity{Certificate: &pair}, nil
}

func (f folderSource) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := f.read("seed")
	if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(string(b))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: seed", fault.ErrMaterial)
	}
	key, err := signer.KeyOf(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return nil, err
	}
	return &sdk.KeySet{Active: key}, nil
}

// Watch looks at the folder's files every few milliseconds.
func (f folderSource) Watch(ctx context.Context, changed func()) error {
	state := func() string {
		var s strings.Builder
		for _, name := range []string{"roots.pem", "identity.pem", "seed", "broken"} {
			b, _ := os.ReadFile(filepath.Join(f.dir, name))
			fmt.Fprintf(&s, "%d:%s", len(b), b)
		}
		return s.String()
	}
	last := state()
	changed()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if now := state(); now != last {
				last = now
				changed()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
