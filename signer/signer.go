package signer

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// Defaults of Config and VerifierConfig.
const (
	DefaultExpiry         = 30 * time.Second
	DefaultSkew           = 30 * time.Second
	DefaultBodyTimeout    = 10 * time.Second
	DefaultAIMemoryWindow = time.Hour
	DefaultMaxBody        = 16 << 20 // bytes
)

// Config is what a Signer is made of.
type Config struct {
	// Key signs. Required. It is one version of a key: for another, make another Signer, which costs a
	// microsecond and shares nothing.
	Key Key
	// PeerID is what this node calls itself on the ai-memory wire (x-peer-id), equal to the
	// sender_agent_id of its messages. Required to sign for that wire, unused otherwise.
	PeerID string
	// Expiry is how long a message may be accepted after it was signed; default 30 s, at least 1 s,
	// rounded down to seconds. Verifiers refuse what asks for more than they allow, 30 s by default.
	Expiry time.Duration
	// MaxBody caps the body that Sign reads by itself, in bytes, when Audience.Content is nil; default
	// 16 MiB.
	MaxBody int64
	// Clock is the time to sign with; default time.Now.
	Clock func() time.Time
}

// Audience says whom a message is for and what it is.
type Audience struct {
	// To is the recipient's ID, or the name that it is reached by; Federation-To. 1 to 2048 visible
	// ASCII characters. Required on the federation wire.
	To string
	// Operation is the id under which the message may be repeated; Federation-Op, or Idempotency-Key on
	// the ai-memory wire. 1 to 128 visible ASCII characters other than "-" alone; "": none.
	Operation string
	// Content is the body and its digest, where the caller has them already: Sign then attaches it to the
	// request, and neither reads nor hashes. nil: Sign digests the request's own body, from GetBody where
	// there is one; otherwise it reads the body, within MaxBody, and puts a copy in its place.
	Content *Content
	// Wire is the profile that the recipient speaks.
	Wire Wire
	// Epoch is what EpochOf read from the recipient's refusal with TagSignAgain: with it the recipient
	// knows that the message was signed after it started, whatever the clocks say. Kept per peer until
	// the peer names another, it saves a round trip; "": none.
	Epoch string
}

// A Signer signs requests with one key. It is immutable and safe for concurrent use; it needs no closing.
type Signer struct {
	config Config
	public ed25519.PublicKey
	keyID  string
	hashes sync.Pool // of *cappedHash
}

// New makes a Signer. It does no I/O. A configuration that cannot work matches ErrConfig, with every
// problem at once; a key that is not Ed25519 matches ErrUnsupported as well.
func New(c Config) (*Signer, error) {
	var problems []error
	problem := func(field string, err error) {
		problems = append(problems, &fault.ConfigError{Field: field, Err: err})
	}
	var pub ed25519.PublicKey
	if c.Key == nil {
		problem("Key", errors.New("none; make one with KeyOf"))
	} else {
		var err error
		if pub, err = PublicKeyOf(c.Key.Public()); err != nil {
			problem("Key", err)
		}
	}
	if c.PeerID != "" && !visible(c.PeerID, maxTo) {
		problem("PeerID", fmt.Errorf("%.80q; want 1 to %d visible ASCII characters", c.PeerID, maxTo))
	}
	switch {
	case c.Expiry == 0:
		c.Expiry = DefaultExpiry
	case c.Expiry < time.Second:
		problem("Expiry", fmt.Errorf("%v; want at least 1 s", c.Expiry))
	}
	switch {
	case c.MaxBody == 0:
		c.MaxBody = DefaultMaxBody
	case c.MaxBody < 0:
		problem("MaxBody", fmt.Errorf("%d; want 0 for the default, or more", c.MaxBody))
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("signer: %w", errors.Join(problems...))
	}
	keyID := Thumbprint(pub)
	s := &Signer{config: c, public: pub, keyID: keyID}
	s.hashes.New = func() any { return &cappedHash{hash: sha256.New()} }
	return s, nil
}

// KeyID is the thumbprint of the key (RFC 7638), the keyid of what it signs.
func (s *Signer) KeyID() string { return s.keyID }

// PublicKey is the key that verifies what s signs; it must not be changed.
func (s *Signer) PublicKey() ed25519.PublicKey { return s.public }
