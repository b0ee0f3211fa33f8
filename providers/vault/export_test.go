package vault

import (
	"time"

	"github.com/alphaonedev/federation/signer"
)

// Queued returns how many messages wait to be sent to Vault.
func Queued(k signer.Key) int {
	b := k.(*transitSigner).batch
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// Due returns when an identity is to be renewed.
func Due(i *Identity) time.Time { return i.state.due }
