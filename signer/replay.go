package signer

import (
	"context"
	"errors"
	"time"
)

// Why a ReplayStore does not accept a nonce.
var (
	ErrReplayed    = errors.New("nonce was used before")
	ErrReplayFull  = errors.New("replay memory is full")
	ErrReplayQuota = errors.New("replay quota of the key is used up")
)

// A Nonce is the 128-bit number that makes a message one.
type Nonce [16]byte

// A ReplayStore remembers which nonces were spent. One process uses a ReplayCache; several replicas that
// answer for one node share a store of the caller's. Implementations are safe for concurrent use.
type ReplayStore interface {
	// Spend records that the key has used the nonce, until at least expires. Of any number of calls with
	// the same key and nonce, concurrent ones included, exactly one returns nil before expires; the
	// others return an error that matches ErrReplayed. ErrReplayFull and ErrReplayQuota mean that there
	// was no room to remember it; any other error, that the store is unavailable. All of them refuse the
	// message: a store that forgets before expires opens a replay window. keyID is a thumbprint.
	Spend(ctx context.Context, keyID string, nonce Nonce, expires time.Time) error
	// Since is the moment from which on the store remembers everything that was spent. Messages from
	// before it are answered with TagSignAgain. The zero time: it outlives the process.
	Since() time.Time
}
