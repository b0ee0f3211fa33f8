package vault

import "github.com/alphaonedev/federation/signer"

// Queued returns how many messages wait to be sent to Vault.
func Queued(k signer.Key) int {
	b := k.(*transitSigner).batch
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}
