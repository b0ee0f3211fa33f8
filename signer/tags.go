package signer

import (
	"net/http"
	"sync/atomic"
)

// tags are all that this package refuses with, and their status; one that is not here is 401.
var tags = [...]struct {
	tag    Tag
	status int
}{
	{TagSignatureMissing, 401},
	{TagSignatureDoubled, 401},
	{TagSignatureEmpty, 401},
	{TagSignatureOversized, 401},
	{TagSignatureMalformed, 401},
	{TagComponents, 401},
	{TagAlgorithm, 401},
	{TagProfile, 401},
	{TagWire, 401},
	{TagNonce, 401},
	{TagKeyID, 401},
	{TagFieldMissing, 401},
	{TagFieldDoubled, 401},
	{TagFieldMalformed, 401},
	{TagFieldOversized, 401},
	{TagTarget, 401},
	{TagAuthority, 401},
	{TagEncoding, 401},
	{TagDigestMissing, 401},
	{TagDigestAlgorithm, 401},
	{TagDigestMalformed, 401},
	{TagDigest, 401},
	{TagRecipient, 403},
	{TagPeer, 403},
	{TagKeyUnknown, 401},
	{TagKeyUnavailable, 503},
	{TagExpired, 401},
	{TagFuture, 401},
	{TagWindow, 401},
	{TagSignAgain, 401},
	{TagSignature, 401},
	{TagBodyUnsigned, 401},
	{TagBodyTooLarge, 413},
	{TagBodyStalled, 408},
	{TagBodyUnreadable, 400},
	{TagReplayed, 401},
	{TagReplayFull, 503},
	{TagReplayQuota, 429},
	{TagReplayUnavailable, 503},
	{TagMemorySigMissing, 401},
	{TagMemorySigMalformed, 401},
	{TagMemorySig, 401},
	{TagMemoryNonceMissing, 401},
	{TagMemoryNonce, 401},
	{TagMemoryReplay, 401},
	{TagMemoryPeerMissing, 403},
	{TagMemorySender, 403},
}

// Tags lists every tag that a Verifier refuses with.
func Tags() []Tag {
	all := make([]Tag, len(tags))
	for i := range tags {
		all[i] = tags[i].tag
	}
	return all
}

func status(t Tag) int {
	for i := range tags {
		if tags[i].tag == t {
			return tags[i].status
		}
	}
	return http.StatusUnauthorized
}

// tagCounters counts by tag.
type tagCounters [len(tags)]atomic.Uint64

func (c *tagCounters) add(t Tag) {
	for i := range tags {
		if tags[i].tag == t {
			c[i].Add(1)
			return
		}
	}
}

func (c *tagCounters) all() map[Tag]uint64 {
	m := make(map[Tag]uint64)
	for i := range tags {
		if n := c[i].Load(); n > 0 {
			m[tags[i].tag] = n
		}
	}
	return m
}
