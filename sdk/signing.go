package sdk

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/rotate"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// HeaderAPIKey carries Builder.APIKey's secret to a peer.
const HeaderAPIKey = "X-Api-Key"

// keyValidity is how long peers may rely on this node's key set without asking again.
const keyValidity = 5 * time.Minute

// A signing is what signs, and who signs, from one change of keys to the next.
type signing struct {
	ring   *keyring
	signer *signer.Signer
}

func (f *Federation) ring() *keyring {
	if s := f.signing.Load(); s != nil {
		return s.ring
	}
	return nil
}

// useKeys puts a keyring into service. The key before stays published until nothing signed with it is in flight.
func (f *Federation) useKeys(k *keyring) {
	f.signingMu.Lock()
	defer f.signingMu.Unlock()
	f.signWith(k)
}

// signWith is useKeys with signingMu held.
func (f *Federation) signWith(k *keyring) {
	s, err := signer.New(signer.Config{Key: k.active, PeerID: f.ID()})
	if f.unusable = err; err != nil {
		f.events.emit(Event{Kind: EventRefused, Role: RoleKey, Detail: "the new signing key cannot be used", Err: err})
		return
	}
	old := f.signing.Swap(&signing{ring: k, signer: s})
	if old != nil && !old.ring.public.Equal(k.public) {
		f.retired.add(old.ring.public, time.Now())
	}
}

// keyTrouble is why the last keys were not loaded or are not used; nil if they are in service.
func (f *Federation) keyTrouble() error {
	if err := f.keys.Status().LastError; err != nil {
		return fmt.Errorf("the last refresh failed: %w", err)
	}
	f.signingMu.Lock()
	defer f.signingMu.Unlock()
	if f.unusable != nil {
		return fmt.Errorf("the key that was loaded cannot be used: %w", f.unusable)
	}
	return nil
}

const fetchTimeout = 3 * time.Second // of a peer's keys, over a connection that is there

// startSigning makes what verifies messages and finds keys. It needs the roster.
func (f *Federation) startSigning() error {
	// The first keys were loaded before this node knew what it calls itself.
	f.signingMu.Lock()
	if k := f.ring(); k != nil {
		f.signWith(k)
	}
	f.signingMu.Unlock()
	var err error
	f.directory, err = signer.NewKeyDirectory(signer.DirectoryConfig{
		Peers:      f.state.Load().directoryPeers(),
		Fetch:      signer.HTTPFetch(unsignedTransport{f}, func(name string) string { return f.state.Load().baseURL(name) }),
		CheckChain: f.checkKeyChain,
		// A fetch may have to connect first, and should not be cut off by that.
		FetchTimeout: cmpOr(f.cfg.Transport.ConnectTimeout, transport.DefaultConnectTimeout) + fetchTimeout,
		OnEvent:      f.directoryEvent,
	})
	if err != nil {
		return &ConfigError{Field: "Peers", Err: err}
	}
	f.verifier, err = signer.NewVerifier(signer.VerifierConfig{Keys: f.directory, Recipient: f.isMe})
	if err != nil {
		return fmt.Errorf("sdk: %w", err)
	}
	return nil
}

// isMe reports whether a message to that name is for this node.
func (f *Federation) isMe(to string) bool {
	return to == f.ID() || f.serving.Load().isCalled(to)
}

// checkKeyChain accepts a certified signing key if the roots that vouch for the peer vouch for it too, under a
// name of the peer.
func (f *Federation) checkKeyChain(peer string, _ ed25519.PublicKey, chain []*x509.Certificate) error {
	m := f.state.Load().byName[peer]
	if m == nil || len(chain) == 0 {
		return fmt.Errorf("no peer %q: %w", peer, ErrNotFound)
	}
	if !m.scope.serving.Load().vouches(chain) {
		return fmt.Errorf("the certificate %q of the key is signed by no root that is trusted for the peer: %w", chain[0].Subject, ErrPermission)
	}
	if !m.named(chain[0]) {
		return fmt.Errorf("the certificate %q of the key has no name of the peer: %w", chain[0].Subject, ErrPermission)
	}
	return nil
}

// named reports whether a certificate has one of the peer's names.
func (m *member) named(c *x509.Certificate) bool {
	if len(m.IDs) == 0 {
		return c.VerifyHostname(m.ServerName) == nil
	}
	return slices.ContainsFunc(m.IDs, func(id string) bool { return hasID(c, id) })
}

// hasID reports whether a certificate has a name that is in normal form.
func hasID(c *x509.Certificate, id string) bool {
	if !isURI(id) {
		return c.VerifyHostname(id) == nil
	}
	return slices.ContainsFunc(c.URIs, func(u *url.URL) bool {
		normal, err := normalizeID(u.String())
		return err == nil && normal == id
	})
}

// publishedKeys is the key set that this node serves.
func (f *Federation) publishedKeys() signer.KeySetView { return f.ring().view(&f.retired, time.Now()) }

type contextKey int

const (
	unsignedKey contextKey = iota // the request goes unsigned: it fetches keys
	contentKey                    // the *signer.Content of the request's body
	peerKey                       // the authenticated Peer of an inbound request
	verifiedKey                   // its *signer.Verified
)

// unsignedTransport sends what must not be signed: two strangers could not verify each other's request for keys. Asking
// twice is as good as once, so that a request is repeated whose connection dies, as when the peer's new certificate has
// just ended what the old one vouched for.
type unsignedTransport struct{ f *Federation }

func (t unsignedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := transport.WithOperation(context.WithValue(req.Context(), unsignedKey, true), "keys:"+rand.Text())
	return roundTripper(t).once(req.WithContext(ctx))
}

// withContent gives the signer a body that is digested already.
func withContent(ctx context.Context, c *signer.Content) context.Context {
	return context.WithValue(ctx, contentKey, c)
}

// errNoKey is why a request that must be signed is not sent.
var errNoKey = errors.New("there is no signing key, and Signing is SignRequired")

// prepare readies one attempt of a request: it attaches the API key and signs. The transport calls it.
func (f *Federation) prepare(req *http.Request, p transport.Peer, _ int) error {
	ctx := req.Context()
	if ctx.Value(unsignedKey) != nil {
		return nil
	}
	m := f.state.Load().byName[p.Name]
	if m == nil {
		return fmt.Errorf("sdk: peer %s has left: %w", p.Name, ErrNotFound)
	}
	if f.cfg.APIKey != nil {
		secret, err := f.cfg.APIKey(ctx, m.clone())
		if err != nil {
			return fmt.Errorf("sdk: API key for peer %s: %w", p.Name, err)
		}
		if secret != "" {
			req.Header.Set(HeaderAPIKey, secret)
		}
	}
	if f.keys == nil {
		return f.prepareUnsigned(req, m)
	}
	s := f.signing.Load()
	if s == nil {
		if f.cfg.Signing == SignRequired {
			return fmt.Errorf("sdk: %w: %w", errNoKey, ErrUnavailable)
		}
		return f.prepareUnsigned(req, m)
	}
	to := signer.Audience{To: m.audience(), Operation: transport.Operation(ctx), Wire: m.Wire}
	to.Content, _ = ctx.Value(contentKey).(*signer.Content)
	if epoch := m.epoch.Load(); epoch != nil {
		to.Epoch = *epoch
	}
	err := s.signer.Sign(req, to)
	if errors.Is(err, ErrExpired) {
		err = f.signAnew(ctx, s, err, func(s *signing) error { return s.signer.Sign(req, to) })
	}
	return err
}

// prepareUnsigned sets what a request says besides its signature.
func (f *Federation) prepareUnsigned(req *http.Request, m *member) error {
	if c, ok := req.Context().Value(contentKey).(*signer.Content); ok {
		c.Attach(req)
	}
	operation := transport.Operation(req.Context())
	if m.Wire == signer.WireAIMemory {
		req.Header.Set(signer.HeaderPeerID, f.ID())
		if operation != "" {
			req.Header.Set(signer.HeaderIdempotencyKey, operation)
		}
		return nil
	}
	if operation != "" {
		req.Header.Set(signer.HeaderOperation, operation)
	}
	return nil
}

// keyEvent says loudly that messages leave unsigned.
func (f *Federation) keyEvent(e rotate.Event) {
	if e.Kind == rotate.Failed && f.signing.Load() == nil {
		if errors.Is(e.Err, ErrNotFound) {
			return // nobody has enrolled a key; Status shows it
		}
		f.events.emit(Event{Kind: EventUnsigned, Role: RoleKey, Time: e.Time, Err: e.Err, Detail: "the signing key cannot be loaded: messages leave unsigned, and strict peers refuse them all"})
		return
	}
	f.events.emit(materialEvent(e, ""))
}
