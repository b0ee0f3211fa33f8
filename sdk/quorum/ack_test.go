package quorum

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

func testKey(t testing.TB, seed byte) (signer.Key, ed25519.PublicKey) {
	t.Helper()
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	key, err := signer.KeyOf(k)
	if err != nil {
		t.Fatal(err)
	}
	return key, k.Public().(ed25519.PublicKey)
}

func testAck(recipient string) *Ack {
	return &Ack{
		Operation: "op-1", Digest: DigestOf([]byte("body")), Sender: "https://a.example", Recipient: recipient,
		Verdict: Applied, Time: time.UnixMilli(1700000000123),
	}
}

func signedAck(t testing.TB, recipient string, seed byte) *Ack {
	t.Helper()
	key, _ := testKey(t, seed)
	a := testAck(recipient)
	if err := SignAcks(t.Context(), key, a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAckSurvivesItsEncoding(t *testing.T) {
	for name, a := range map[string]*Ack{
		"unsigned": testAck("b"),
		"signed":   signedAck(t, "b", 1),
		"noop":     {Operation: "x", Sender: "ä", Recipient: "b", Verdict: Noop, Time: time.UnixMilli(1)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := a.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseAck(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, a) {
				t.Errorf("got %+v, want %+v", got, a)
			}
			for n := range b {
				if _, err := ParseAck(b[:n]); !errors.Is(err, ErrTruncated) {
					t.Fatalf("the first %d of %d bytes: %v, want ErrTruncated", n, len(b), err)
				}
			}
			if _, err := ParseAck(append(b, 0)); !errors.Is(err, ErrMalformed) {
				t.Errorf("a byte after it: %v, want ErrMalformed", err)
			}
		})
	}
}

// The encoding is a format that others implement: this test fails when it changes.
func TestAckEncodingIsFixed(t *testing.T) {
	b, err := signedAck(t, "b", 1).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	const want = "0101" + "0000018bcfe5687b" +
		"230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5" +
		"0004" + "6f702d31" + "0011" + "68747470733a2f2f612e6578616d706c65" + "0001" + "62" + "01"
	if got := hex.EncodeToString(b); !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s…", got, want)
	}
	if got := len(b) - len(want)/2; got != 32+2+1+64 {
		t.Errorf("proof of %d bytes", got)
	}
}

func TestAckRefusesBadFields(t *testing.T) {
	for name, change := range map[string]func(*Ack){
		"empty operation":       func(a *Ack) { a.Operation = "" },
		"long operation":        func(a *Ack) { a.Operation = strings.Repeat("x", MaxOperation+1) },
		"space in operation":    func(a *Ack) { a.Operation = "a b" },
		"quote in operation":    func(a *Ack) { a.Operation = `a"b` },
		"newline in operation":  func(a *Ack) { a.Operation = "a\nb" },
		"operation not ASCII":   func(a *Ack) { a.Operation = "ä" },
		"empty sender":          func(a *Ack) { a.Sender = "" },
		"empty recipient":       func(a *Ack) { a.Recipient = "" },
		"long recipient":        func(a *Ack) { a.Recipient = strings.Repeat("x", MaxID+1) },
		"recipient not UTF-8":   func(a *Ack) { a.Recipient = "\xff" },
		"verdict zero":          func(a *Ack) { a.Verdict = 0 },
		"verdict three":         func(a *Ack) { a.Verdict = 3 },
		"no time":               func(a *Ack) { a.Time = time.Time{} },
		"time after 9999":       func(a *Ack) { a.Time = time.UnixMilli(maxMillis + 1) },
		"short signature":       func(a *Ack) { a.Proof.Signature = a.Proof.Signature[:63] },
		"key id no thumbprint":  func(a *Ack) { a.Proof.KeyID = "key-1" },
		"index outside path":    func(a *Ack) { a.Proof.Index = 1 },
		"path over the maximum": func(a *Ack) { a.Proof.Path = make([]Hash, MaxPath+1) },
	} {
		t.Run(name, func(t *testing.T) {
			a := signedAck(t, "b", 1)
			change(a)
			if _, err := a.MarshalBinary(); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
}

func TestParseAckRefusesOtherVersions(t *testing.T) {
	b, _ := testAck("b").MarshalBinary()
	b[0] = 2
	if _, err := ParseAck(b); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func TestAckVerifiesForItsKeyAndStatementOnly(t *testing.T) {
	_, pub := testKey(t, 1)
	_, other := testKey(t, 2)
	if err := signedAck(t, "b", 1).Verify(pub); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Ack)
		pub    ed25519.PublicKey
		want   error
	}{
		"unsigned":          {func(a *Ack) { a.Proof = nil }, pub, ErrUnsigned},
		"another key":       {func(*Ack) {}, other, ErrUnknownKey},
		"another operation": {func(a *Ack) { a.Operation = "op-2" }, pub, ErrSignature},
		"another digest":    {func(a *Ack) { a.Digest[0]++ }, pub, ErrSignature},
		"another sender":    {func(a *Ack) { a.Sender = "x" }, pub, ErrSignature},
		"another recipient": {func(a *Ack) { a.Recipient = "x" }, pub, ErrSignature},
		"another verdict":   {func(a *Ack) { a.Verdict = Noop }, pub, ErrSignature},
		"another time":      {func(a *Ack) { a.Time = a.Time.Add(time.Millisecond) }, pub, ErrSignature},
		"signature changed": {func(a *Ack) { a.Proof.Signature[5] ^= 1 }, pub, ErrSignature},
		"another key id":    {func(a *Ack) { a.Proof.KeyID = signer.Thumbprint(other) }, other, ErrSignature},
		"a path added":      {func(a *Ack) { a.Proof.Path = make([]Hash, 1) }, pub, ErrSignature},
		"field too long":    {func(a *Ack) { a.Sender = strings.Repeat("x", MaxID+1) }, pub, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			a := signedAck(t, "b", 1)
			c.change(a)
			if err := a.Verify(c.pub); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestOneSignatureProvesManyAcks(t *testing.T) {
	key, pub := testKey(t, 1)
	for _, n := range []int{1, 2, 3, 5, 64, 65, MaxSigned} {
		acks := make([]*Ack, n)
		for i := range acks {
			acks[i] = testAck("b")
			acks[i].Operation = fmt.Sprint("op-", i)
		}
		if err := SignAcks(t.Context(), key, acks...); err != nil {
			t.Fatal(err)
		}
		lookups := 0
		errs := VerifyAcks(acks, func(string, string) (ed25519.PublicKey, error) { lookups++; return pub, nil })
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("%d acks: %v", n, err)
		}
		if lookups != 1 {
			t.Errorf("%d acks: %d signatures verified", n, lookups)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if err := acks[i].Verify(pub); err != nil {
				t.Errorf("ack %d of %d alone: %v", i, n, err)
			}
			if n > 1 {
				moved := *acks[i]
				moved.Operation = acks[(i+1)%n].Operation
				if err := moved.Verify(pub); !errors.Is(err, ErrSignature) {
					t.Errorf("ack %d of %d under another's operation: %v", i, n, err)
				}
			}
		}
	}
	if err := SignAcks(t.Context(), key, make([]*Ack, MaxSigned+1)...); err == nil {
		t.Error("more than MaxSigned acks were signed")
	}
}

func TestOneBadAckAmongManyFailsAlone(t *testing.T) {
	key, pub := testKey(t, 1)
	acks := []*Ack{testAck("b"), testAck("b"), testAck("b")}
	acks[1].Operation, acks[2].Operation = "op-2", "op-3"
	if err := SignAcks(t.Context(), key, acks...); err != nil {
		t.Fatal(err)
	}
	acks[1].Digest[0]++
	errs := VerifyAcks(acks, func(string, string) (ed25519.PublicKey, error) { return pub, nil })
	if errs[0] != nil || !errors.Is(errs[1], ErrSignature) || errs[2] != nil {
		t.Errorf("got %v", errs)
	}
}

func FuzzParseAck(f *testing.F) {
	for _, a := range []*Ack{testAck("b"), signedAck(f, "b", 1)} {
		b, _ := a.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAck(b)
		if err != nil {
			return
		}
		if got, err := a.MarshalBinary(); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%x parses and encodes as %x, %v", b, got, err)
		}
	})
}
