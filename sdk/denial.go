package sdk

import (
	"maps"
	"sync"

	"github.com/alphaonedev/federation/signer"
)

// Tags of refusals that this package adds to signer's. Tags are part of the wire and never change their
// meaning.
const (
	TagTLSRequired signer.Tag = "tls_required"  // 403: the request came without mutual TLS
	TagForbidden   signer.Tag = "forbidden"     // 403: Authorize said no
	TagUntrusted   signer.Tag = "peer_distrust" // 403: what vouched for the peer no longer does
)

// denials counts refusals by tag.
type denials struct {
	mu     sync.Mutex
	counts map[signer.Tag]uint64
}

// add reports whether it is the first of its tag.
func (d *denials) add(tag signer.Tag) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = make(map[signer.Tag]uint64)
	}
	d.counts[tag]++
	return d.counts[tag] == 1
}

func (d *denials) copy() map[signer.Tag]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}
