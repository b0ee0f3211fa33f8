package signer

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// A KeySource knows the public keys of peers. A KeyDirectory is one. Implementations are safe for
// concurrent use.
type KeySource interface {
	// Key returns the key with that id, of that peer and of no other. An error that matches ErrNotFound
	// says that the peer has no such key; any other, that its keys cannot be had at the moment. peer comes
	// from TLS, keyID from the message: a thumbprint by its form, nothing more.
	Key(ctx context.Context, peer, keyID string) (ed25519.PublicKey, error)
	// Keys returns all keys of that peer that are valid now, for a wire that names none.
	Keys(ctx context.Context, peer string) ([]ed25519.PublicKey, error)
}

// VerifierConfig is what a Verifier is made of.
type VerifierConfig struct {
	// Keys knows the peers' keys. Required.
	Keys KeySource
	// Recipient reports whether Federation-To names this node: its ID, or a name in its certificate.
	// Required; Names makes one of a list. It must be quick and safe for concurrent use.
	Recipient func(to string) bool
	// Replay remembers the nonces of the federation wire; default a ReplayCache of its own. Give several
	// verifiers of one node the same one.
	Replay ReplayStore
	// AIMemoryReplay remembers the nonces of the ai-memory wire; default a ReplayCache of its own, made on
	// first use.
	AIMemoryReplay ReplayStore
	// AIMemoryWindow is how long nonces of the ai-memory wire are remembered, since its messages carry no
	// time; default 1 h.
	AIMemoryWindow time.Duration
	// Authority is what the senders call this node, where a proxy in front of it rewrites Host: lower
	// case, without a default port. Default: the request's own Host.
	Authority string
	// MaxAge is the longest time from created to expires that is accepted; default 30 s.
	MaxAge time.Duration
	// Skew is by how much the clocks of two nodes may differ; default 30 s.
	Skew time.Duration
	// MaxBody caps every body, in bytes; default 16 MiB.
	MaxBody int64
	// BodyTimeout is how long a body may take to arrive; default 10 s. The request's context bounds it as
	// well. Either cuts off a body that stalls, within 250 ms, where From.Response is given or the body can be closed from
	// aside (HTTP/2); otherwise a late body is refused when it has arrived.
	BodyTimeout time.Duration
	// StreamTimeout is how long the body of VerifyStream may take to arrive as a whole; default
	// BodyTimeout, which then bounds each Read. The nonces of all messages are remembered for that much
	// longer.
	StreamTimeout time.Duration
	// OnRefusal is told of every refusal, with the name of the peer that TLS knows; from Verify's goroutine.
	OnRefusal func(peer string, r *Refusal)
	// Clock is the time to judge by; default time.Now.
	Clock func() time.Time
}

// Names makes a VerifierConfig.Recipient of a list of names, which it copies. They are compared exactly.
func Names(names ...string) func(to string) bool {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return func(to string) bool { _, ok := set[to]; return ok }
}

// From says who sent a request, as its TLS connection established it.
type From struct {
	// Peer is the name by which VerifierConfig.Keys knows the peer; "" is refused with TagPeer.
	Peer string
	// Wire is the profile that this peer speaks.
	Wire Wire
	// PeerID is what this peer must call itself on the ai-memory wire; "": anything, as long as header and
	// body agree.
	PeerID string
	// Response, of the request's handler, lets a body that stalls be cut off on HTTP/1.1, where nothing
	// else can short of the server's own ReadTimeout: its read deadline is moved. May be nil.
	Response http.ResponseWriter
}

// Verified is what a Verifier vouches for.
type Verified struct {
	Peer      string            // From.Peer
	Wire      Wire              // From.Wire
	KeyID     string            // thumbprint of Key
	Key       ed25519.PublicKey // must not be changed
	To        string            // the name the sender used for this node; "" on the ai-memory wire
	Operation string            // the id under which the sender may repeat the message; "": none
	PeerID    string            // ai-memory wire: what the sender calls itself
	Created   time.Time         // zero on the ai-memory wire, as is Expires
	Expires   time.Time
	Skew      time.Duration     // how far the sender's clock is ahead of ours, delivery included; 0 on the ai-memory wire
	Digest    [sha256.Size]byte // SHA-256 of the body; all zero without one
	Body      []byte            // the body, which request.Body yields too; nil without one and after VerifyStream

	buffers *buffers
}

// Release gives the memory of Body back, for the next message; neither Body nor request.Body may be used
// afterwards. It is optional: whoever keeps Body does not call it.
func (v *Verified) Release() {
	if v.buffers != nil {
		v.buffers.put(v.Body)
		v.Body, v.buffers = nil, nil
	}
}

// A Verifier checks messages. It is safe for concurrent use and needs no closing.
type Verifier struct {
	config     VerifierConfig
	epoch      epoch
	since      time.Time // zero: no message is from before us
	refusals   tagCounters
	memoryOnce sync.Once
	ownKeys    bool // Keys is a KeyDirectory, which needs no check of what it returns
	watch      watch
	buffers    buffers
}

// NewVerifier makes a Verifier. It does no I/O. A configuration that cannot work matches ErrConfig, with
// every problem at once.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	var problems []error
	problem := func(field, text string, args ...any) {
		problems = append(problems, &fault.ConfigError{Field: field, Err: fmt.Errorf(text, args...)})
	}
	if c.Keys == nil {
		problem("Keys", "none; make a KeyDirectory")
	}
	if c.Recipient == nil {
		problem("Recipient", "none; make one with Names")
	}
	if a, ok := canonicalAuthority(c.Authority, "https"); c.Authority != "" && (!ok || a != c.Authority) {
		problem("Authority", "%.270q; want lower case ASCII without the default port", c.Authority)
	}
	for _, d := range []struct {
		field    string
		value    *time.Duration
		standard time.Duration
	}{
		{"MaxAge", &c.MaxAge, DefaultExpiry},
		{"Skew", &c.Skew, DefaultSkew},
		{"BodyTimeout", &c.BodyTimeout, DefaultBodyTimeout},
		{"StreamTimeout", &c.StreamTimeout, 0},
		{"AIMemoryWindow", &c.AIMemoryWindow, DefaultAIMemoryWindow},
	} {
		if *d.value < 0 || *d.value > maxDuration {
			problem(d.field, "%v; want 0 for the default, or up to %v", *d.value, maxDuration)
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.StreamTimeout == 0 {
		c.StreamTimeout = c.BodyTimeout
	}
	switch {
	case c.MaxBody == 0:
		c.MaxBody = DefaultMaxBody
	case c.MaxBody < 0:
		problem("MaxBody", "%d; want 0 for the default, or more", c.MaxBody)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("signer: verifier: %w", errors.Join(problems...))
	}
	if c.Replay == nil {
		c.Replay = newReplayCache(ReplayCacheConfig{Window: c.MaxAge + 2*c.Skew + max(c.BodyTimeout, c.StreamTimeout), Clock: c.Clock})
	}
	v := &Verifier{config: c, epoch: newEpoch(), since: c.Replay.Since()}
	_, v.ownKeys = c.Keys.(*KeyDirectory)
	v.watch.tick = min(max(c.BodyTimeout/8, time.Millisecond), time.Second/4)
	return v, nil
}

// maxDuration bounds every duration of a configuration, so that sums of them cannot overflow.
const maxDuration = 365 * 24 * time.Hour
