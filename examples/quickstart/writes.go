package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
)

// firstWrite pushes a note, and has a third party check the receipt.
func (w *world) firstWrite(ctx context.Context) error {
	result, err := w.a.write(ctx, "the first note")
	if err != nil {
		return err
	}
	w.say("a first note: %d of %d nodes had it after %v", result.Acked, result.N, result.Elapsed.Round(100*time.Microsecond))
	_, cold := w.coldness()
	w.check("a first write after Warm waits for no handshake", cold == 0, "%d requests waited for a connection", cold)

	if result.Receipt == nil {
		return fmt.Errorf("no receipt: %s", result.Unproven)
	}
	proof, err := result.Receipt.MarshalBinary()
	if err != nil {
		return err
	}
	err = audit(proof, "the first note", quorum.Keys{Of: w.keys, Writes: 2})
	w.check("a receipt proves a write to a third party", err == nil, "%d bytes: %v", len(proof), verdict(err))
	err = audit(proof, "another note", quorum.Keys{Of: w.keys, Writes: 2})
	w.check("and proves no other", err != nil, "%v", verdict(err))
	return nil
}

// audit is the third party: it has the receipt, the note, and the public keys of the nodes, and asks nobody.
func audit(proof []byte, note string, keys quorum.Keys) error {
	receipt, err := quorum.ParseReceipt(proof)
	if err != nil {
		return err
	}
	if quorum.DigestOf([]byte(note)) != receipt.Digest {
		return errors.New("the receipt is for another note")
	}
	return quorum.Verify(receipt, keys)
}

func verdict(err error) string {
	if err != nil {
		return err.Error()
	}
	return "genuine"
}

// lose kills one peer, then the other.
func (w *world) lose(ctx context.Context) error {
	b, c := w.nodes[0], w.nodes[1]
	c.kill()
	result, err := w.a.write(ctx, "without c")
	if err == nil {
		w.say("c killed; the next note: %d of %d nodes had it after %v, and c gets it when it is back", result.Acked, result.N,
			result.Elapsed.Round(100*time.Microsecond))
	}
	w.check("with one of three nodes gone, a write meets its quorum of 2", err == nil, "%v", outcome(result, err))

	b.kill()
	begun := time.Now()
	result, err = w.a.write(ctx, "alone")
	w.say("b killed too; the next note fails after %v: %v", since(begun), err)
	var short *quorum.NotMetError
	w.check("with two of three gone, it does not, and says why", errors.As(err, &short) && short.Got == 1 && short.Need == 2, "%v", outcome(result, err))
	return nil
}

func outcome(result *quorum.Result, err error) string {
	var short *quorum.NotMetError
	switch {
	case errors.As(err, &short):
		return fmt.Sprintf("%d of %d: %s", short.Got, short.Need, short.Reason)
	case err != nil:
		return err.Error()
	}
	return fmt.Sprintf("%d acks", result.Acked)
}

// comeBack starts the killed peers again, and sees the outbox bring them what they missed.
func (w *world) comeBack(ctx context.Context) error {
	depth := map[string]int{}
	for _, p := range w.a.fed.Status().Peers {
		depth[p.Name] = p.Outbox.Depth
	}
	for _, p := range w.nodes {
		if err := p.launch(ctx); err != nil {
			return err
		}
	}
	for _, p := range w.nodes {
		if err := p.join(w.peersOf(p.Name)); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := w.whole(ctx, "peers that come back get what they missed"); err != nil {
		return err
	}
	w.say("both are back; the outbox had %d notes for b and %d for c, and has none after %v", depth["b"], depth["c"], since(begun))
	return nil
}
