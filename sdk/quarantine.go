package sdk

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// Quarantined returns up to limit messages that are set aside for a peer, those with a Seq above after, in
// order; limit 0 means 64. The peer is given by name or by ID; the ID of one that left works too.
func (f *Federation) Quarantined(ctx context.Context, peer string, after uint64, limit int) ([]outbox.Entry, error) {
	entries, err := f.delivery.store.Read(ctx, f.peerID(peer), outbox.Query{After: after, Messages: limit, Quarantined: true})
	if err != nil {
		return nil, fmt.Errorf("sdk: quarantine of %s: %w", peer, err)
	}
	return entries, nil
}

// RetryQuarantined puts messages that are set aside back into the queue of the peer, at their place, with no
// refusals counted. A message that is gone is skipped.
func (f *Federation) RetryQuarantined(ctx context.Context, peer string, seqs ...uint64) error {
	id := f.peerID(peer)
	marks := make([]outbox.Mark, len(seqs))
	for i, seq := range seqs {
		marks[i] = outbox.Mark{Seq: seq}
	}
	if err := f.delivery.store.Mark(ctx, id, marks...); err != nil {
		return fmt.Errorf("sdk: retry for %s: %w", peer, err)
	}
	if m := f.state.Load().byID[id]; m != nil {
		f.delivery.courier(peerRef{name: m.Name, id: m.ID}).replaySoon()
	}
	return nil
}

// DropQuarantined deletes messages that are set aside, or wait, for a peer. The peer never gets them from here. A
// message that is gone is skipped.
func (f *Federation) DropQuarantined(ctx context.Context, peer string, seqs ...uint64) error {
	if err := f.delivery.store.Delete(ctx, f.peerID(peer), seqs...); err != nil {
		return fmt.Errorf("sdk: drop for %s: %w", peer, err)
	}
	f.delivery.notify()
	return nil
}

// peerID is the ID of the peer with that name; other strings are IDs.
func (f *Federation) peerID(peer string) string {
	if m := f.state.Load().byName[peer]; m != nil {
		return m.ID
	}
	return peer
}
