package signer

import (
	"crypto/rand"
	"encoding/base64"
)

// An epoch is 64 random bits that a Verifier draws when it starts. A nonce that opens with them was made
// after that, whatever the clocks of the two nodes say.
const (
	epochSize = 8
	epochLen  = 11 // in base64url without padding
)

type epoch [epochSize]byte

func newEpoch() (e epoch) {
	_, _ = rand.Read(e[:]) // never fails
	return e
}

func (e epoch) String() string { return base64.RawURLEncoding.EncodeToString(e[:]) }

func parseEpoch(s string) (e epoch, ok bool) {
	if len(s) != epochLen {
		return e, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(e[:], []byte(s))
	return e, err == nil && n == epochSize
}

func validEpoch(s string) bool {
	_, ok := parseEpoch(s)
	return ok
}
