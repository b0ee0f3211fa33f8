package quorum

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/alphaonedev/federation/signer"
)

// What else can be wrong with a receipt.
var (
	// ErrRepeatedSigner: a node or a key stands in the receipt twice.
	ErrRepeatedSigner = errors.New("repeated signer")
	// ErrTooFew: the receipt holds fewer acks than the write needed, or than the verifier demands.
	ErrTooFew = errors.New("too few acks")
	// ErrMismatch: an ack is about another operation, digest or sender than the receipt.
	ErrMismatch = errors.New("ack is about something else")
)

// A Receipt proves that a write met its quorum: at least W nodes have signed that they have the message with
// this operation id and digest. It is not changed once made.
type Receipt struct {
	Operation string
	Digest    Digest // SHA-256 of the body, as sha256sum prints it
	Sender    string // ID of the node that pushed
	Writes    int    // W at the time, by the word of who made the receipt
	Acks      []*Ack // W of them or more
}

// Keys are what a verifier knows by itself.
type Keys struct {
	// Of holds, by node ID, the public keys that each node had when it signed.
	Of map[string][]ed25519.PublicKey
	// Writes is how many nodes the verifier demands. 0 takes the receipt's own number, which its maker chose.
	Writes int
}

// Verify checks a receipt offline. A nil error means: at least max(receipt.Writes, keys.Writes) different
// nodes, each with a key of its own that keys knows, have signed that they have this operation and digest.
// Otherwise the error matches ErrTooFew, ErrRepeatedSigner, ErrUnknownKey, ErrSignature, ErrUnsigned,
// ErrMismatch or ErrMalformed; every ack must hold, so that one bad ack spoils the receipt. It says nothing
// about the message itself: compare DigestOf(body) with receipt.Digest.
func Verify(r *Receipt, keys Keys) error {
	if r == nil {
		return fmt.Errorf("quorum: receipt: %w: there is none", ErrMalformed)
	}
	if r.Writes < 1 {
		return fmt.Errorf("quorum: receipt: %w: W of %d", ErrMalformed, r.Writes)
	}
	nodes, seen := make(map[string]bool), make(map[string]bool)
	for _, a := range r.Acks {
		switch {
		case a == nil: // of JSON, perhaps
			return fmt.Errorf("quorum: receipt: %w: an ack is missing", ErrMalformed)
		case a.Operation != r.Operation || a.Digest != r.Digest || a.Sender != r.Sender:
			return fmt.Errorf("quorum: receipt: ack of %s: %w", a.Recipient, ErrMismatch)
		case a.Proof == nil:
			return fmt.Errorf("quorum: receipt: ack of %s: %w", a.Recipient, ErrUnsigned)
		case nodes[a.Recipient] || seen[a.Proof.KeyID]:
			return fmt.Errorf("quorum: receipt: ack of %s: %w", a.Recipient, ErrRepeatedSigner)
		}
		nodes[a.Recipient], seen[a.Proof.KeyID] = true, true
	}
	if need := max(r.Writes, keys.Writes); len(r.Acks) < need {
		return fmt.Errorf("quorum: receipt: %w: %d of %d", ErrTooFew, len(r.Acks), need)
	}
	return errors.Join(VerifyAcks(r.Acks, keys.find)...)
}

func (k Keys) find(node, keyID string) (ed25519.PublicKey, error) {
	for _, pub := range k.Of[node] {
		if _, err := signer.PublicKeyOf(pub); err == nil && signer.Thumbprint(pub) == keyID {
			return pub, nil
		}
	}
	return nil, ErrUnknownKey
}

// MarshalBinary returns the encoding of the receipt: what the acks share is in it once. It fails, with an
// error that matches ErrMalformed, ErrMismatch or ErrUnsigned, on a receipt that cannot be encoded.
func (r *Receipt) MarshalBinary() ([]byte, error) {
	if r.Writes < 1 || r.Writes > math.MaxUint16 || len(r.Acks) < 1 || len(r.Acks) > math.MaxUint16 {
		return nil, fmt.Errorf("quorum: receipt: %w: W of %d, %d acks", ErrMalformed, r.Writes, len(r.Acks))
	}
	b := append([]byte(receiptMagic), receiptVersion)
	b = append(b, r.Digest[:]...)
	b = appendString(b, r.Operation)
	b = appendString(b, r.Sender)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Writes))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Acks)))
	for _, a := range r.Acks {
		if a.Operation != r.Operation || a.Digest != r.Digest || a.Sender != r.Sender {
			return nil, fmt.Errorf("quorum: receipt: ack of %s: %w", a.Recipient, ErrMismatch)
		}
		if a.Proof == nil {
			return nil, fmt.Errorf("quorum: receipt: ack of %s: %w", a.Recipient, ErrUnsigned)
		}
		if err := a.validate(); err != nil {
			return nil, fmt.Errorf("quorum: receipt: %w: %w", ErrMalformed, err)
		}
		b = append(b, byte(a.Verdict))
		b = binary.BigEndian.AppendUint64(b, uint64(a.Time.UnixMilli()))
		b = appendString(b, a.Recipient)
		var err error
		if b, err = a.Proof.append(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ParseReceipt parses what MarshalBinary made. Errors match ErrTruncated, ErrMalformed or ErrVersion. The
// receipt keeps nothing of b. A parsed receipt is not a verified one.
func ParseReceipt(b []byte) (*Receipt, error) {
	rd := reader{b: b}
	if head := rd.take(len(receiptMagic)); rd.err == nil && string(head) != receiptMagic {
		rd.fail("it does not start with %q", receiptMagic)
	}
	if v := rd.byte(); rd.err == nil && v != receiptVersion {
		return nil, fmt.Errorf("quorum: receipt: %w %d, want %d", ErrVersion, v, receiptVersion)
	}
	r := &Receipt{}
	copy(r.Digest[:], rd.take(len(r.Digest)))
	r.Operation = rd.string()
	r.Sender = rd.string()
	r.Writes = int(rd.uint16())
	count := int(rd.uint16())
	if rd.err == nil && (r.Writes == 0 || count == 0) {
		rd.fail("W of %d, %d acks", r.Writes, count)
	}
	for i := 0; i < count && rd.err == nil; i++ {
		a := &Ack{Operation: r.Operation, Digest: r.Digest, Sender: r.Sender}
		a.Verdict = Verdict(rd.byte())
		a.Time = rd.time()
		a.Recipient = rd.string()
		a.Proof = rd.proof()
		if rd.err != nil {
			break
		}
		if err := a.validate(); err != nil {
			rd.fail("%w", err)
		}
		r.Acks = append(r.Acks, a)
	}
	if rd.err == nil && len(rd.b) > 0 {
		rd.fail("%d bytes after it", len(rd.b))
	}
	if rd.err != nil {
		return nil, fmt.Errorf("quorum: receipt: %w", rd.err)
	}
	return r, nil
}
