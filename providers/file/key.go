package file

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

// Key is an Ed25519 signing key in a file: PKCS #8 in PEM or DER (encrypted too, with PBES2), OpenSSH (encrypted
// too), the 32-byte seed or the 64-byte private key (RFC 8032, section 5.1.5; seed, then public key) in base64, or
// the same bytes raw.
//
//	openssl genpkey -algorithm ed25519 -out node.ed25519
//	ssh-keygen -t ed25519 -f node.ed25519
//	openssl rand -base64 32 > node.ed25519
//
// Use it through a pointer. It is safe for concurrent use; its fields must not change once it is in use. Errors
// wrap sdk.ErrNotFound, ErrPermission, ErrMaterial, ErrConfig (no path), ErrUnavailable, or what Passphrase returned.
type Key struct {
	Path string // required

	// Passphrase unlocks an encrypted key; nil: it is not encrypted.
	Passphrase Passphrase

	// Strict refuses, with ErrPermission, a key that others than the file's owner can read or write. Otherwise
	// that is a warning. Only Unix is checked.
	Strict bool

	Settle time.Duration // how long the file must have been left alone before it is used; default 200 ms, negative: not at all
	Poll   time.Duration // how often Watch reads the file unasked; default 30 s, negative: never
	Logger hclog.Logger  // warnings; nil: silent

	cache cache[signer.Key]
}

var (
	_ sdk.KeyProvider = (*Key)(nil)
	_ sdk.Watcher     = (*Key)(nil)
	_ sdk.Validator   = (*Key)(nil)
)

// SigningKeys reads the file. The set has an active key and nothing else: sdk keeps the one before published, and peers
// ask for one that they do not know.
func (k *Key) SigningKeys(ctx context.Context) (*sdk.KeySet, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	blobs, at, err := read(ctx, k.inputs(), k.Settle)
	if err != nil {
		return nil, err
	}
	active, err := k.cache.get(ctx, at, func() (signer.Key, error) { return k.parse(ctx, blobs[0]) })
	if err != nil {
		return nil, err
	}
	return &sdk.KeySet{Active: active}, nil
}

// Validate reports a missing path. It opens nothing.
func (k *Key) Validate() error {
	if k.Path == "" {
		return noPath("Key.Path")
	}
	return nil
}

// Watch calls changed when the file differs from what it was, and once when it begins to see changes. It
// returns when ctx ends, with ctx's error.
func (k *Key) Watch(ctx context.Context, changed func()) error {
	if err := k.Validate(); err != nil {
		return err
	}
	return watch(ctx, k.inputs(), k.Settle, k.Poll, k.Logger, &k.cache.pulls, changed)
}

func (k *Key) inputs() []input {
	return []input{{kind: kindSigning, path: k.Path, limit: maxKeyFile}}
}

const kindSigning = "signing key"

func (k *Key) parse(ctx context.Context, b blob) (signer.Key, error) {
	u := &unlocker{ctx: ctx, ask: k.Passphrase}
	key, err := signingKey(b.data, u)
	if errors.Is(err, errNoKey) || errors.Is(err, errKind) {
		err = errOtherKey
	}
	if pass := (*passphraseError)(nil); errors.As(err, &pass) {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, badPassphrase(b, pass)
	}
	if err != nil {
		return nil, bad(sdk.ErrMaterial, b.kind, b.path, "%v", err)
	}
	if err := checkMode(b, k.Strict, k.Logger); err != nil {
		return nil, err
	}
	return signer.KeyOf(key)
}

var errOtherKey = errors.New("holds a private key that does not parse, or of another kind, want Ed25519; make one with openssl genpkey -algorithm ed25519")

// signingKey reads any of the forms. It says what it found and the cure, without path.
func signingKey(data []byte, u *unlocker) (ed25519.PrivateKey, error) {
	var key crypto.Signer
	switch {
	case isPEM(data):
		all, err := blocks(data)
		if err != nil {
			return nil, err
		}
		if key, err = keyFromPEM(all, u); err != nil {
			return nil, err
		}
		if key == nil {
			return nil, errors.New("holds no private key, but " + kinds(all) + "; name the right file")
		}
	case isDER(data) && len(data) != ed25519.SeedSize && len(data) != ed25519.PrivateKeySize:
		var err error
		if key, err = keyFromDER(data, u); err != nil {
			return nil, err
		}
	default:
		return rawKey(data)
	}
	k, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("is " + describe(key) + ", want Ed25519; make one with openssl genpkey -algorithm ed25519")
	}
	return k, nil
}
