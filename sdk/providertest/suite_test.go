package providertest

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/signer"
)

type fakeTrust struct{ *fake[*sdk.TrustBundle] }

func (f fakeTrust) TrustBundle(ctx context.Context) (*sdk.TrustBundle, error) { return f.get(ctx) }

type fakeIdentity struct{ *fake[*sdk.Identity] }

func (f fakeIdentity) Identity(ctx context.Context) (*sdk.Identity, error) { return f.get(ctx) }

type fakeKey struct{ *fake[*sdk.KeySet] }

func (f fakeKey) SigningKeys(ctx context.Context) (*sdk.KeySet, error) { return f.get(ctx) }

func TestTrustSuite(t *testing.T) {
	alter := func(name string, change func(t *testing.T, b *sdk.TrustBundle), subtest, says string) defect[*sdk.TrustBundle] {
		return altered(t, name, change, subtest, says)
	}
	defects(t, trustRole,
		func(f *fake[*sdk.TrustBundle]) sdk.TrustProvider { return fakeTrust{f} },
		func(t testing.TB) *sdk.TrustBundle {
			return &sdk.TrustBundle{Roots: []*x509.Certificate{sdktest.NewCA(t).Certificate}}
		},
		[]defect[*sdk.TrustBundle]{
			alter("no roots", func(_ *testing.T, b *sdk.TrustBundle) { b.Roots = nil }, "FirstUse", "no roots"),
			alter("a nil root", func(_ *testing.T, b *sdk.TrustBundle) { b.Roots = append(b.Roots, nil) }, "FirstUse", "not a parsed"),
			alter("a leaf as a root", func(t *testing.T, b *sdk.TrustBundle) {
				b.Roots = append(b.Roots, sdktest.NewCA(t).Issue(t, sdktest.Leaf{}).Leaf)
			}, "FirstUse", "is not a CA certificate"),
			alter("only expired roots", func(t *testing.T, b *sdk.TrustBundle) {
				b.Roots = []*x509.Certificate{sdktest.NewCA(t, sdktest.CAOptions{
					NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
				}).Certificate}
			}, "FirstUse", "valid today"),
			alter("a nil CRL", func(_ *testing.T, b *sdk.TrustBundle) { b.CRLs = append(b.CRLs, nil) }, "FirstUse", "CRLs[0]"),
			alter("negative RefreshAfter", func(_ *testing.T, b *sdk.TrustBundle) { b.RefreshAfter = -1 }, "FirstUse", "RefreshAfter"),
			alter("another answer each time", func(t *testing.T, b *sdk.TrustBundle) {
				b.Roots = []*x509.Certificate{sdktest.NewCA(t).Certificate}
			}, "Steady", "two pulls of an unchanged source differ"),
			{"changes what it returned", func(f *fake[*sdk.TrustBundle]) {
				shared := &sdk.TrustBundle{}
				f.pull = func(_ context.Context, good *sdk.TrustBundle, err error) (*sdk.TrustBundle, error) {
					if err != nil {
						return nil, err
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					*shared = *good
					return shared, nil
				}
			}, "Rotate", "changed a value that had been returned", false},
			{"tells of changes after the end", func(f *fake[*sdk.TrustBundle]) {
				f.watch = func(ctx context.Context, changed func()) error {
					f.mu.Lock()
					f.changed = map[int]func(){0: changed}
					f.mu.Unlock()
					changed()
					<-ctx.Done()
					return nil
				}
			}, "Watch", "after Watch had returned", false},
		})
}

func TestIdentitySuite(t *testing.T) {
	ca := sdktest.NewCA(t)
	ica := ca.Intermediate(t)
	alter := func(name string, change func(t *testing.T, id *sdk.Identity), subtest, says string) defect[*sdk.Identity] {
		return altered(t, name, change, subtest, says)
	}
	other := func(leaf sdktest.Leaf) func(t *testing.T, id *sdk.Identity) {
		var once sync.Once
		var cert *tls.Certificate
		return func(t *testing.T, id *sdk.Identity) {
			once.Do(func() { cert = ica.Issue(t, leaf).TLS })
			id.Certificate = cert
		}
	}
	defects(t, identityRole,
		func(f *fake[*sdk.Identity]) sdk.IdentityProvider { return fakeIdentity{f} },
		func(t testing.TB) *sdk.Identity {
			return &sdk.Identity{Certificate: ica.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}}).TLS}
		},
		[]defect[*sdk.Identity]{
			alter("no certificate", func(_ *testing.T, id *sdk.Identity) { id.Certificate = nil }, "FirstUse", "is nil"),
			alter("an empty chain", func(_ *testing.T, id *sdk.Identity) { id.Certificate.Certificate = nil }, "FirstUse", "chain is empty"),
			alter("garbage in the chain", func(_ *testing.T, id *sdk.Identity) {
				id.Certificate.Certificate = append(id.Certificate.Certificate, []byte("garbage"))
			}, "FirstUse", "does not parse"),
			alter("a chain that does not link", func(_ *testing.T, id *sdk.Identity) {
				id.Certificate.Certificate = append(id.Certificate.Certificate, id.Certificate.Certificate[0])
			}, "FirstUse", "not signed by the next"),
			alter("the root first", func(_ *testing.T, id *sdk.Identity) {
				slices.Reverse(id.Certificate.Certificate)
				id.Certificate.Leaf = nil
			},
				"FirstUse", "does not belong to the leaf"),
			alter("another key", func(t *testing.T, id *sdk.Identity) { id.Certificate.PrivateKey = sdktest.NewKey(t, sdktest.ECDSAP256) },
				"FirstUse", "does not belong to the leaf"),
			alter("no signer", func(_ *testing.T, id *sdk.Identity) { id.Certificate.PrivateKey = "key" }, "FirstUse", "no crypto.Signer"),
			alter("another Leaf", func(_ *testing.T, id *sdk.Identity) { id.Certificate.Leaf = ca.Certificate }, "FirstUse", "Certificate.Leaf"),
			alter("expired", other(sdktest.Leaf{NotAfter: time.Now().Add(-time.Minute)}), "FirstUse", "which is not now"),
			alter("for servers only", other(sdktest.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "FirstUse", "clientAuth"),
			alter("negative RefreshAfter", func(_ *testing.T, id *sdk.Identity) { id.RefreshAfter = -1 }, "FirstUse", "RefreshAfter"),
			alter("a key that does not sign", func(_ *testing.T, id *sdk.Identity) {
				id.Certificate.PrivateKey = badSigner{id.Certificate.PrivateKey.(crypto.Signer), nil}
			}, "Handshake", "as a client"),
			alter("a key that signs something else", func(t *testing.T, id *sdk.Identity) {
				id.Certificate.PrivateKey = badSigner{id.Certificate.PrivateKey.(crypto.Signer), sdktest.NewKey(t, sdktest.ECDSAP256)}
			}, "Handshake", "as a client"),
			{"shows its key", func(f *fake[*sdk.Identity]) {
				f.pull = func(_ context.Context, good *sdk.Identity, err error) (*sdk.Identity, error) {
					if err != nil {
						return nil, errors.Join(err, errors.New(spellings(good.Certificate.PrivateKey)[1]))
					}
					return good, nil
				}
			}, "Errors", "is in an error", false},
		})
}

func TestKeySuite(t *testing.T) {
	fixed := sdktest.Ed25519(t)
	alter := func(name string, change func(t *testing.T, s *sdk.KeySet), subtest, says string) defect[*sdk.KeySet] {
		return altered(t, name, change, subtest, says)
	}
	with := func(name string, sign func(ctx context.Context, key ed25519.PrivateKey, m []byte) ([]byte, error), subtest, says string, hangs bool) defect[*sdk.KeySet] {
		d := altered(t, name, func(_ *testing.T, s *sdk.KeySet) {
			k := s.Active.(testKey)
			s.Active = testKey{k.key, sign}
		}, subtest, says)
		d.hangs = hangs
		return d
	}
	defects(t, keyRole,
		func(f *fake[*sdk.KeySet]) sdk.KeyProvider { return fakeKey{f} },
		func(t testing.TB) *sdk.KeySet { return &sdk.KeySet{Active: testKey{key: sdktest.Ed25519(t)}} },
		[]defect[*sdk.KeySet]{
			alter("no active key", func(_ *testing.T, s *sdk.KeySet) { s.Active = nil }, "FirstUse", "Active"),
			alter("a key that is not Ed25519", func(t *testing.T, s *sdk.KeySet) {
				s.Active = otherKey{sdktest.NewKey(t, sdktest.ECDSAP256).Public()}
			}, "FirstUse", "want an ed25519.PublicKey"),
			alter("a public key that is too short", func(_ *testing.T, s *sdk.KeySet) {
				s.Active = otherKey{ed25519.PublicKey("short")}
			}, "FirstUse", "want an ed25519.PublicKey"),
			alter("a published key of another kind", func(t *testing.T, s *sdk.KeySet) {
				s.Published = []crypto.PublicKey{sdktest.NewKey(t, sdktest.ECDSAP256).Public()}
			}, "FirstUse", "Published[0]"),
			alter("negative RefreshAfter", func(_ *testing.T, s *sdk.KeySet) { s.RefreshAfter = -1 }, "FirstUse", "RefreshAfter"),
			with("signs with another key", func(_ context.Context, _ ed25519.PrivateKey, m []byte) ([]byte, error) {
				return ed25519.Sign(fixed, m), nil
			}, "Sign", "does not verify", false),
			with("does not sign", func(ctx context.Context, _ ed25519.PrivateKey, _ []byte) ([]byte, error) {
				return nil, errors.Join(ctx.Err(), errors.New("no"))
			}, "Sign", "signing 0 bytes", false),
			with("signs without a context", func(_ context.Context, k ed25519.PrivateKey, m []byte) ([]byte, error) {
				return ed25519.Sign(k, m), nil
			}, "Sign", "context that has ended", false),
			with("hangs as its context has ended", func(ctx context.Context, k ed25519.PrivateKey, m []byte) ([]byte, error) {
				if ctx.Err() != nil {
					<-t.Context().Done()
				}
				return ed25519.Sign(k, m), nil
			}, "Sign", "does not return", true),
			{"an old key follows the rotation", func(f *fake[*sdk.KeySet]) {
				f.pull = func(_ context.Context, good *sdk.KeySet, err error) (*sdk.KeySet, error) {
					if err != nil {
						return nil, err
					}
					k := good.Active.(testKey)
					return &sdk.KeySet{Active: testKey{k.key, func(_ context.Context, _ ed25519.PrivateKey, m []byte) ([]byte, error) {
						f.mu.Lock()
						defer f.mu.Unlock()
						return ed25519.Sign(f.value.Active.(testKey).key, m), nil
					}}}, nil
				}
			}, "SignAcrossRotation", "signs with another key", false},
		})
}

// altered is a defect in every value that is returned.
func altered[V any](t *testing.T, name string, change func(*testing.T, *V), subtest, says string) defect[*V] {
	return defect[*V]{name, func(f *fake[*V]) {
		f.pull = func(_ context.Context, good *V, err error) (*V, error) {
			if err != nil {
				return nil, err
			}
			v := *good
			if id, ok := any(&v).(*sdk.Identity); ok { // one level deeper
				c := *id.Certificate
				c.Certificate = slices.Clone(c.Certificate)
				id.Certificate = &c
			}
			change(t, &v)
			return &v, nil
		}
	}, subtest, says, false}
}

// A testKey is a signer.Key whose Sign can be replaced.
type testKey struct {
	key  ed25519.PrivateKey
	sign func(context.Context, ed25519.PrivateKey, []byte) ([]byte, error)
}

func (k testKey) Public() crypto.PublicKey { return k.key.Public() }

func (k testKey) Sign(ctx context.Context, m []byte) ([]byte, error) {
	if k.sign != nil {
		return k.sign(ctx, k.key, m)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return ed25519.Sign(k.key, m), nil
}

// An otherKey has a public key of the wrong kind.
type otherKey struct{ public crypto.PublicKey }

func (k otherKey) Public() crypto.PublicKey { return k.public }
func (k otherKey) Sign(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("never called")
}

var _ = []signer.Key{testKey{}, otherKey{}}

// A badSigner has the right public key; it signs with another key, or not at all.
type badSigner struct {
	crypto.Signer
	other crypto.Signer
}

func (s badSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.other == nil {
		return nil, errors.New("no")
	}
	return s.other.Sign(rand.Reader, digest, opts)
}
