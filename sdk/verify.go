package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// Verify returns a handler that lets requests of peers through to next, and no others. Three things must agree:
// the TLS identity of the connection, the key that signed the request, and the peer that is configured with
// them. Builder.Authorize has the last word. PeerFrom finds the peer in the context of what passes, and the
// request's body is the verified one.
//
// Signatures are required where this node has a Key, under SignRequired, and of every peer with Peer.Keys;
// elsewhere TLS alone authenticates, and a signature that is there must be good.
//
// What is refused is answered with 401 or 403 (408, 413, 429 and 503 where those say more) and a tag in the
// Federation-Refusal header and the body, as docs/wire.md lists them. The log and Status say more than the
// answer does.
func (f *Federation) Verify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, verified, err := f.verify(w, r)
		if err != nil {
			if m != nil && r.ProtoMajor == 1 && r.Header["Expect"] == nil { // who expects 100 has sent nothing yet
				f.denyAndHear(w, r, m, err)
				return
			}
			f.deny(w, m, err)
			return
		}
		ctx := context.WithValue(r.Context(), peerKey, m)
		if verified != nil {
			ctx = context.WithValue(ctx, verifiedKey, verified)
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// PeerFrom returns the authenticated peer whose request Verify let through.
func PeerFrom(ctx context.Context) (Peer, bool) {
	m := memberFrom(ctx)
	if m == nil {
		return Peer{}, false
	}
	return m.clone(), true
}

// VerifiedFrom returns what the signature of a request vouches for: key, operation, times. There is none for a
// request that passed unsigned.
func VerifiedFrom(ctx context.Context) (*signer.Verified, bool) {
	v, ok := ctx.Value(verifiedKey).(*signer.Verified)
	return v, ok
}

func memberFrom(ctx context.Context) *member {
	m, _ := ctx.Value(peerKey).(*member)
	return m
}

// verify says who sent a request, or why it is refused; then it returns the peer too, where that is known.
func (f *Federation) verify(w http.ResponseWriter, r *http.Request) (*member, *signer.Verified, error) {
	if f.isClosed() {
		return nil, nil, &signer.Refusal{Tag: signer.TagKeyUnavailable, Status: http.StatusServiceUnavailable, Err: closedError("verify")}
	}
	if r.TLS == nil {
		return f.verifyPlaintext(w, r)
	}
	m, err := f.identify(r)
	if err != nil {
		return nil, nil, err
	}
	var verified *signer.Verified
	if f.mustBeSigned(m) || isSigned(r) {
		verified, err = f.verifier.Verify(r, signer.From{Peer: m.Name, Wire: m.Wire, Response: w})
		if err != nil {
			var refusal *signer.Refusal
			if errors.As(err, &refusal) && refusal.Skew != 0 {
				f.sawClock(m, refusal.Skew)
			}
			return m, nil, err
		}
		if f.distrustsKey(verified) {
			return m, nil, &signer.Refusal{Tag: signer.TagKeyUnknown, Status: http.StatusUnauthorized, Err: fmt.Errorf("key %s is distrusted", verified.KeyID)}
		}
		if verified.PeerID != "" {
			if err := f.checkSender(r, m, verified.PeerID); err != nil {
				return m, nil, err
			}
		}
		if m.Wire == signer.WireFederation {
			f.sawClock(m, verified.Skew)
		}
		// Trust may have changed while the body arrived.
		if again, err := f.identify(r); err != nil || again.ID != m.ID {
			return m, nil, &signer.Refusal{Tag: TagUntrusted, Status: http.StatusForbidden, Err: err}
		}
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, signer.DefaultMaxBody)
	}
	if err := f.authorize(m, r); err != nil {
		return m, nil, err
	}
	return m, verified, nil
}

// identify says which peer the TLS connection of a request belongs to, under the trust of this moment.
func (f *Federation) identify(r *http.Request) (*member, error) {
	p, err := f.transport.Identify(r.TLS)
	if err != nil {
		tag := signer.TagPeer
		if len(r.TLS.PeerCertificates) == 0 {
			tag = TagTLSRequired
		}
		return nil, &signer.Refusal{Tag: tag, Status: http.StatusForbidden, Err: err}
	}
	m := f.state.Load().byName[p.Name]
	if m == nil { // the list changed between the two
		return nil, &signer.Refusal{Tag: signer.TagPeer, Status: http.StatusForbidden, Err: fmt.Errorf("peer %s has left", p.Name)}
	}
	f.sawChain(m, r.TLS.PeerCertificates)
	return m, nil
}

// verifyPlaintext recognises a peer by one of its configured keys alone.
func (f *Federation) verifyPlaintext(w http.ResponseWriter, r *http.Request) (*member, *signer.Verified, error) {
	refusal := error(&signer.Refusal{Tag: TagTLSRequired, Status: http.StatusForbidden, Err: errors.New("the request came without TLS; serve with Federation.Server or Listener")})
	if !f.cfg.AllowPlaintext {
		return nil, nil, refusal
	}
	for _, m := range f.state.Load().members {
		if len(m.Keys) == 0 || !isPlaintext(m.URL) {
			continue
		}
		verified, err := f.verifier.Verify(r, signer.From{Peer: m.Name, Wire: m.Wire, Response: w})
		if err == nil && f.distrustsKey(verified) {
			err = &signer.Refusal{Tag: signer.TagKeyUnknown, Status: http.StatusUnauthorized}
		}
		if err == nil {
			err = f.authorize(m, r)
		}
		var because *signer.Refusal
		if errors.As(err, &because) && (because.Tag == signer.TagKeyUnknown || because.Tag == signer.TagWire || because.Tag == signer.TagMemorySig) {
			refusal = err
			continue // nothing is lost or spent: the key may be another peer's
		}
		return m, verified, err
	}
	return nil, nil, refusal
}

func (f *Federation) authorize(m *member, r *http.Request) error {
	if f.cfg.Authorize == nil {
		return nil
	}
	if err := f.cfg.Authorize(m.clone(), r); err != nil {
		return &signer.Refusal{Tag: TagForbidden, Status: http.StatusForbidden, Err: err}
	}
	return nil
}

// checkSender refuses a peer that calls itself what another node is called, since acks and VerifiedFrom name it so.
func (f *Federation) checkSender(r *http.Request, m *member, sender string) error {
	for _, other := range f.state.Load().members {
		if other != m && other.ID != m.ID && other.isCalled(sender) && !m.isCalled(sender) {
			return &signer.Refusal{Tag: TagSender, Status: http.StatusForbidden, Err: fmt.Errorf("it calls itself %.80q, as peer %s is called", sender, other.Name)}
		}
	}
	if f.isMe(sender) && !m.isCalled(sender) && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0 ||
		spkiOf(r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo) != f.serving.Load().spki()) {
		return &signer.Refusal{Tag: TagSender, Status: http.StatusForbidden, Err: fmt.Errorf("it calls itself %.80q, as this node is called", sender)}
	}
	return nil
}

// isCalled reports whether a name is one that the peer is configured with.
func (m *member) isCalled(name string) bool {
	if name == m.ID || name == m.audience() || name == m.ServerName {
		return true
	}
	for _, id := range m.IDs {
		if id == name {
			return true
		}
	}
	return false
}

// mustBeSigned reports whether messages of a peer count only with a signature.
func (f *Federation) mustBeSigned(m *member) bool {
	return len(m.Keys) > 0 || f.keys != nil && f.cfg.Signing == SignRequired
}

// isSigned reports whether a request claims to be signed, in any profile.
func isSigned(r *http.Request) bool {
	return r.Header[signer.HeaderSignature] != nil || r.Header[signer.HeaderSignatureInput] != nil || r.Header[signer.HeaderMemorySig] != nil
}

// denyAndHear answers at once, and then lets the peer finish a body that it is sending. Many clients send all before
// they read: the server would hang up on them, they would never see why, and never learn the epoch with which to
// sign again.
func (f *Federation) denyAndHear(w http.ResponseWriter, r *http.Request, m *member, err error) {
	c := http.NewResponseController(w)
	var refusal *signer.Refusal
	if !errors.As(err, &refusal) || refusal.Tag == TagUntrusted || strings.HasPrefix(string(refusal.Tag), "body_") || c.EnableFullDuplex() != nil {
		f.deny(w, m, err)
		return
	}
	f.deny(w, m, err)
	if c.Flush() == nil && c.SetReadDeadline(time.Now().Add(signer.DefaultBodyTimeout)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, signer.DefaultMaxBody)
	}
}

// deny answers a request that is refused, and counts it.
func (f *Federation) deny(w http.ResponseWriter, m *member, err error) {
	var refusal *signer.Refusal
	if !errors.As(err, &refusal) {
		refusal = &signer.Refusal{Tag: signer.TagSignatureMalformed, Status: http.StatusUnauthorized, Err: err}
	}
	name, first := "", f.denied.add(refusal.Tag)
	if m != nil {
		name = m.Name
		first = m.denials.add(refusal.Tag)
	}
	if first {
		// Once for each tag and peer: what repeats is counted in Status, and must not flood the log.
		f.events.emit(Event{Kind: EventDenied, Peer: name, Detail: string(refusal.Tag), Err: refusal.Err})
	}
	signer.WriteRefusal(w, refusal)
}
