package quorum

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
)

func testReceipt(t testing.TB) (*Receipt, Keys) {
	t.Helper()
	r := &Receipt{Operation: "op-1", Digest: DigestOf([]byte("body")), Sender: "https://a.example", Writes: 2}
	keys := Keys{Of: map[string][]ed25519.PublicKey{}}
	for i, node := range []string{"https://a.example", "b"} {
		r.Acks = append(r.Acks, signedAck(t, node, byte(i+1)))
		_, pub := testKey(t, byte(i+1))
		_, older := testKey(t, byte(i+100))
		keys.Of[node] = []ed25519.PublicKey{older, pub}
	}
	return r, keys
}

func TestReceiptVerifiesAfterItsEncoding(t *testing.T) {
	r, keys := testReceipt(t)
	b, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, want %+v", got, r)
	}
	if err := Verify(got, keys); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Receipt, *Keys)
		want   error
	}{
		"a repeated signer": {func(r *Receipt, _ *Keys) { r.Acks = append(r.Acks, r.Acks[1]) }, ErrRepeatedSigner},
		"one key for two nodes": {func(r *Receipt, k *Keys) {
			r.Acks = append(r.Acks, signedAck(t, "c", 2))
			k.Of["c"] = k.Of["b"]
		}, ErrRepeatedSigner},
		"two keys of one node": {func(r *Receipt, k *Keys) {
			r.Writes = 3
			r.Acks = append(r.Acks, signedAck(t, "b", 101))
		}, ErrRepeatedSigner},
		"an ack that is null":       {func(r *Receipt, _ *Keys) { r.Acks[1] = nil }, ErrMalformed},
		"fewer than W":              {func(r *Receipt, _ *Keys) { r.Acks = r.Acks[:1] }, ErrTooFew},
		"no acks":                   {func(r *Receipt, _ *Keys) { r.Acks = nil }, ErrTooFew},
		"fewer than it is asked":    {func(_ *Receipt, k *Keys) { k.Writes = 3 }, ErrTooFew},
		"a W lowered by its maker":  {func(r *Receipt, k *Keys) { r.Writes, r.Acks, k.Writes = 1, r.Acks[:1], 2 }, ErrTooFew},
		"a W of zero":               {func(r *Receipt, _ *Keys) { r.Writes = 0 }, ErrMalformed},
		"an unknown key":            {func(_ *Receipt, k *Keys) { k.Of["b"] = k.Of["b"][:1] }, ErrUnknownKey},
		"an unknown node":           {func(_ *Receipt, k *Keys) { delete(k.Of, "b") }, ErrUnknownKey},
		"no keys":                   {func(_ *Receipt, k *Keys) { *k = Keys{} }, ErrUnknownKey},
		"keys of the wrong length":  {func(_ *Receipt, k *Keys) { k.Of["b"] = []ed25519.PublicKey{{1}} }, ErrUnknownKey},
		"a forged signature":        {func(r *Receipt, _ *Keys) { r.Acks[1].Proof.Signature[0] ^= 1 }, ErrSignature},
		"a changed verdict":         {func(r *Receipt, _ *Keys) { r.Acks[1].Verdict = Noop }, ErrSignature},
		"an unsigned ack":           {func(r *Receipt, _ *Keys) { r.Acks[1].Proof = nil }, ErrUnsigned},
		"an ack of another write":   {func(r *Receipt, _ *Keys) { r.Acks[1].Operation = "op-2" }, ErrMismatch},
		"an ack of another body":    {func(r *Receipt, _ *Keys) { r.Acks[1].Digest[0]++ }, ErrMismatch},
		"an ack to another sender":  {func(r *Receipt, _ *Keys) { r.Acks[1].Sender = "x" }, ErrMismatch},
		"all changed to another op": {func(r *Receipt, _ *Keys) { r.Operation, r.Acks[0].Operation, r.Acks[1].Operation = "o", "o", "o" }, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			r, keys := testReceipt(t)
			c.change(r, &keys)
			if err := Verify(r, keys); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if err := Verify(nil, Keys{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("no receipt: %v", err)
	}
}

func TestParseReceiptRefuses(t *testing.T) {
	r, _ := testReceipt(t)
	good, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("truncated", func(t *testing.T) {
		for n := range good {
			if _, err := ParseReceipt(good[:n]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("the first %d of %d bytes: %v", n, len(good), err)
			}
		}
	})
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"something after it": {func(b []byte) []byte { return append(b, 'x') }, ErrMalformed},
		"another magic":      {func(b []byte) []byte { b[0] = 'X'; return b }, ErrMalformed},
		"another version":    {func(b []byte) []byte { b[3] = 9; return b }, ErrVersion},
		"an ack":             {func([]byte) []byte { a, _ := r.Acks[0].MarshalBinary(); return a }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseReceipt(c.change(bytes.Clone(good))); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzParseReceipt(f *testing.F) {
	r, keys := testReceipt(f)
	b, _ := r.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseReceipt(b)
		if err != nil {
			return
		}
		if again, err := got.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x parses and encodes as %x, %v", b, again, err)
		}
		if Verify(got, keys) == nil && !reflect.DeepEqual(got, r) {
			t.Errorf("%+v verifies and nobody made it", got)
		}
	})
}

func TestReasonFor(t *testing.T) {
	acked := Outcome{Kind: Acked, Counted: true}
	for name, c := range map[string]struct {
		outcomes []Outcome
		late     bool
		want     Reason
	}{
		"nobody reached":              {[]Outcome{acked, {Kind: Unsent, Err: errors.New("x")}}, false, Unreachable},
		"written and no answer":       {[]Outcome{acked, {Kind: Unknown}}, true, Timeout},
		"still dialling at the end":   {[]Outcome{acked, {Kind: Unsent}}, true, Timeout},
		"others are still trying":     {[]Outcome{acked, {Kind: Unsent, Err: errors.New("x")}, {Kind: Unknown}, {Kind: Unsent}}, false, Unreachable},
		"refused":                     {[]Outcome{acked, {Kind: Refused, Err: errors.New("x")}, {Kind: Unsent, Err: errors.New("x")}}, false, RefusedBy},
		"drifted":                     {[]Outcome{acked, {Kind: Drifted, Err: errors.New("x")}}, false, Drift},
		"the same node twice":         {[]Outcome{acked, {Kind: Acked, Err: ErrSameIdentity}}, false, Drift},
		"most decide":                 {[]Outcome{{Kind: Drifted}, {Kind: Unsent, Err: errors.New("x")}, {Kind: Unsent, Err: errors.New("x")}}, true, Unreachable},
		"an answer that is no ack":    {[]Outcome{acked, {Kind: Unknown, Err: errors.New("a page")}}, false, RefusedBy},
		"no answer, and it says so":   {[]Outcome{acked, {Kind: Unknown, Err: fmt.Errorf("x: %w", context.DeadlineExceeded)}}, false, Timeout},
		"the connection died":         {[]Outcome{acked, {Kind: Unknown, Err: fmt.Errorf("x: %w", fault.ErrUnavailable)}}, false, Unreachable},
		"an answer decides over none": {[]Outcome{{Kind: Refused}, {Kind: Unknown}}, true, RefusedBy},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ReasonFor(c.outcomes, c.late); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestNotMetErrorNamesThePeers(t *testing.T) {
	e := &NotMetError{Got: 1, Need: 2, Reason: Unreachable, Outcomes: []Outcome{
		{Peer: "local", Kind: Acked, Counted: true},
		{Peer: "peer-0", Kind: Unsent, Err: errors.New("connection refused")},
		{Peer: "peer-1", Kind: Unknown},
	}}
	const want = "quorum not met: 1 of 2: unreachable: peer-0 unsent (connection refused); peer-1 unknown"
	if e.Error() != want {
		t.Errorf("got  %s\nwant %s", e, want)
	}
}
