package signer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// A Tag names the reason of a refusal. Tags are part of the wire: they never change their meaning.
type Tag string

// The tags of the federation wire. docs/wire.md says which status each comes with.
const (
	TagSignatureMissing   Tag = "signature_missing"   // no Signature or no Signature-Input
	TagSignatureDoubled   Tag = "signature_doubled"   // one of them twice, or two signatures in one
	TagSignatureEmpty     Tag = "signature_empty"     // one of them empty
	TagSignatureOversized Tag = "signature_oversized" // one of them longer than any of ours
	TagSignatureMalformed Tag = "signature_malformed" // not of our exact form
	TagComponents         Tag = "components_mismatch" // covers other fields, or in another order
	TagAlgorithm          Tag = "algorithm_unknown"   // alg is not ed25519
	TagProfile            Tag = "profile_unknown"     // tag is not federation-v1
	TagWire               Tag = "wire_mismatch"       // a message in the other profile
	TagNonce              Tag = "nonce_malformed"     // nonce is not 128 bits in base64url
	TagKeyID              Tag = "keyid_malformed"     // keyid is not a thumbprint
	TagFieldMissing       Tag = "field_missing"       // a covered header field is not there
	TagFieldDoubled       Tag = "field_doubled"       // a covered header field is there twice
	TagFieldMalformed     Tag = "field_malformed"     // a covered header field has a value that we never send
	TagFieldOversized     Tag = "field_oversized"     // a covered header field is over its limit
	TagTarget             Tag = "target_malformed"    // method or request target is none that we sign
	TagAuthority          Tag = "authority_malformed" // Host is none that we sign
	TagEncoding           Tag = "encoding_unsigned"   // Content-Encoding, which no signature covers
	TagDigestMissing      Tag = "digest_missing"      // a body without Content-Digest
	TagDigestAlgorithm    Tag = "digest_algorithm"    // Content-Digest without SHA-256, or with another
	TagDigestMalformed    Tag = "digest_malformed"    // Content-Digest is not of our exact form
	TagDigest             Tag = "digest_mismatch"     // the body is another
	TagRecipient          Tag = "recipient_mismatch"  // a message for somebody else
	TagPeer               Tag = "peer_unknown"        // TLS named no peer of ours
	TagKeyUnknown         Tag = "key_unknown"         // this peer has no such key
	TagKeyUnavailable     Tag = "key_unavailable"     // its keys cannot be had at the moment: try again
	TagExpired            Tag = "expired"             // expires has passed
	TagFuture             Tag = "created_in_future"   // created is ahead of our clock
	TagWindow             Tag = "window_invalid"      // expires is not after created, or too far after it
	TagSignAgain          Tag = "sign_again"          // may be from before we started: sign again with the epoch
	TagSignature          Tag = "signature_invalid"   // the signature does not hold
	TagBodyUnsigned       Tag = "body_unsigned"       // a body under the profile without one
	TagBodyTooLarge       Tag = "body_too_large"      // over the cap
	TagBodyStalled        Tag = "body_stalled"        // did not arrive in time
	TagBodyUnreadable     Tag = "body_unreadable"     // broke off
	TagReplayed           Tag = "nonce_replayed"      // seen before
	TagReplayFull         Tag = "replay_memory_full"  // no room to remember the nonce: try later
	TagReplayQuota        Tag = "replay_quota"        // the sender has used its share of that room
	TagReplayUnavailable  Tag = "replay_unavailable"  // the shared replay store did not answer
)

// The tags of the ai-memory wire, where its nodes have one; what they have none for comes with a tag of
// the federation wire.
const (
	TagMemorySigMissing   Tag = "x_memory_sig_missing"
	TagMemorySigMalformed Tag = "x_memory_sig_malformed"
	TagMemorySig          Tag = "x_memory_sig_bad_signature"
	TagMemoryNonceMissing Tag = "x_memory_nonce_missing"
	TagMemoryNonce        Tag = "x_memory_nonce_malformed"
	TagMemoryReplay       Tag = "x_memory_nonce_replay"
	TagMemoryPeerMissing  Tag = "peer_id_header_missing"
	TagMemorySender       Tag = "sender_agent_id_mismatch"
)

// A Refusal is why a Verifier did not accept a message. Everything that Verify returns is one.
type Refusal struct {
	Tag    Tag
	Status int    // of the HTTP response: 400, 401, 403, 408, 413, 429 or 503
	Epoch  string // with TagSignAgain: what the sender signs again with
	// Skew is how far the sender's clock is ahead of ours by what its message says, with TagFuture and TagExpired. Its
	// signature was not looked at: it is as good as From.
	Skew time.Duration
	Err  error // what was found, for the log of the receiver; not for the sender. May be nil
}

// Error is for the receiver's own log. The sender learns the tag alone, through WriteRefusal.
func (r *Refusal) Error() string {
	if r.Err == nil {
		return "signer: refused: " + string(r.Tag)
	}
	return "signer: refused: " + string(r.Tag) + ": " + r.Err.Error()
}

func (r *Refusal) Unwrap() error { return r.Err }

// Temporary reports whether the same sender may try the same operation again, signed afresh.
func (r *Refusal) Temporary() bool {
	return r.Tag == TagSignAgain || r.Status == http.StatusServiceUnavailable ||
		r.Status == http.StatusTooManyRequests || r.Status == http.StatusRequestTimeout
}

// WriteRefusal answers a request that Verify refused: the status, the tag in Federation-Refusal and as the
// error of a small JSON object, and nothing else. An error that is no *Refusal is answered 500 without a
// reason. It must come before anything else is written.
func WriteRefusal(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	var r *Refusal
	if !errors.As(err, &r) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"error":"internal"}` + "\n"))
		return
	}
	h.Set(HeaderRefusal, string(r.Tag))
	if r.Epoch != "" {
		h.Set(HeaderEpoch, r.Epoch)
	}
	body, _ := json.Marshal(map[string]string{"error": string(r.Tag)})
	h.Set("Content-Length", strconv.Itoa(len(body)+1)) // whoever flushes it, it is one piece
	w.WriteHeader(r.Status)
	_, _ = w.Write(append(body, '\n'))
}

// RefusalOf is the tag with which a peer refused a request, or "" if the response carries none that is
// well-formed. It reads no body.
func RefusalOf(resp *http.Response) Tag {
	v := resp.Header[HeaderRefusal]
	if resp.StatusCode < 400 || len(v) != 1 || !validTag(v[0]) {
		return ""
	}
	return Tag(v[0])
}

// IsSignAgain reports whether the peer asks to have the message signed again, with EpochOf(resp) as
// Audience.Epoch, and sent again. A sender obeys once per attempt.
func IsSignAgain(resp *http.Response) bool { return RefusalOf(resp) == TagSignAgain }

// EpochOf is the epoch of a response with TagSignAgain, or "" if it has none that is well-formed.
func EpochOf(resp *http.Response) string {
	v := resp.Header[HeaderEpoch]
	if !IsSignAgain(resp) || len(v) != 1 || !validEpoch(v[0]) {
		return ""
	}
	return v[0]
}

func validTag(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}
