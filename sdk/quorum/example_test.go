package quorum_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
)

func ExamplePolicy_Resolve() {
	policy, err := quorum.Policy{Writes: quorum.Majority}.Resolve(4)
	fmt.Println(policy, err)
	_, err = quorum.Policy{Writes: 4}.Resolve(2)
	fmt.Println(err)
	// Output:
	// 3 of 5 within 2s <nil>
	// Quorum.Writes: 4 of 3 nodes (this one and 2 peers) can never be met: lower it to at most 3, or add peers
}

func ExampleNewTally() {
	policy, _ := quorum.Policy{Writes: 2}.Resolve(2)
	tally := quorum.NewTally(policy)
	tally.Ack(0, quorum.Identity{Key: "our key", TLS: "a.example"})
	fmt.Println(tally.State())
	tally.Ack(1, quorum.Identity{Key: "our key", TLS: "other.example"}) // our own node, by another URL
	fmt.Println(tally.State())
	tally.Ack(2, quorum.Identity{Key: "key of b", TLS: "b.example"})
	fmt.Println(tally.State())
	// Output:
	// pending
	// pending
	// met
}

func ExampleVerify() {
	// In life the acks come from the nodes of a federation; here two keys of ours stand for two nodes.
	body := []byte("ten bolts")
	receipt := &quorum.Receipt{Operation: "order-17", Digest: quorum.DigestOf(body), Sender: "a", Writes: 2}
	keys := quorum.Keys{Of: map[string][]ed25519.PublicKey{}, Writes: 2}
	for i, node := range []string{"a", "b"} {
		private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, ed25519.SeedSize))
		key, err := signer.KeyOf(private)
		if err != nil {
			fmt.Println(err)
			return
		}
		ack := &quorum.Ack{
			Operation: receipt.Operation, Digest: receipt.Digest, Sender: receipt.Sender, Recipient: node,
			Verdict: quorum.Applied, Time: time.UnixMilli(1700000000000),
		}
		if err := quorum.SignAcks(context.Background(), key, ack); err != nil {
			fmt.Println(err)
			return
		}
		receipt.Acks = append(receipt.Acks, ack)
		keys.Of[node] = []ed25519.PublicKey{private.Public().(ed25519.PublicKey)}
	}
	fmt.Println(quorum.Verify(receipt, keys))

	receipt.Acks[1].Verdict = quorum.Noop
	fmt.Println(errors.Is(quorum.Verify(receipt, keys), quorum.ErrSignature))
	// Output:
	// <nil>
	// true
}
