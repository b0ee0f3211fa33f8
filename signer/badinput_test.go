package signer_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// countingKeys is a key source that counts how often it is asked.
type countingKeys struct {
	signer.KeySource
	asked int
	err   error
	other ed25519.PublicKey
}

func (c *countingKeys) Key(ctx context.Context, peer, id string) (ed25519.PublicKey, error) {
	c.asked++
	if c.err != nil {
		return nil, c.err
	}
	if c.other != nil {
		return c.other, nil
	}
	return c.KeySource.Key(ctx, peer, id)
}

// refusingStore is a replay store that does not work.
type refusingStore struct{ err error }

func (s refusingStore) Spend(context.Context, string, signer.Nonce, time.Time) error { return s.err }

func (refusingStore) Since() time.Time { return time.Time{} }

func TestMalformedHeadersCostNoLookupAndLittleMemory(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for name, change := range map[string]func(h http.Header){
		"a megabyte of Signature":       func(h http.Header) { h.Set(signer.HeaderSignature, huge) },
		"a megabyte of Signature-Input": func(h http.Header) { h.Set(signer.HeaderSignatureInput, "sig=("+huge) },
		"a megabyte of Federation-To":   func(h http.Header) { h.Set(signer.HeaderTo, huge) },
		"a megabyte of Federation-Op":   func(h http.Header) { h.Set(signer.HeaderOperation, huge) },
		"a megabyte of Content-Type":    func(h http.Header) { h.Set("Content-Type", huge) },
		"a megabyte of Content-Digest":  func(h http.Header) { h.Set(signer.HeaderContentDigest, huge) },
		"ten thousand signatures":       func(h http.Header) { h[signer.HeaderSignature] = make([]string, 10_000) },
		"no signature":                  func(h http.Header) { h.Del(signer.HeaderSignature) },
		"a deep Signature-Input":        func(h http.Header) { h.Set(signer.HeaderSignatureInput, "sig="+strings.Repeat("(", 500)) },
	} {
		keys := &countingKeys{}
		n := newNode(t, func(_ *signer.Config, vc *signer.VerifierConfig) { keys.KeySource, vc.Keys = vc.Keys, keys })
		r := n.signed(t, "hello")
		change(r.Header)
		body := &countingBody{r: strings.NewReader("hello")}
		r.Body = body
		bytes := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := n.verifier.Verify(r, signer.From{Peer: "a"}); err == nil {
					b.Fatal("accepted")
				}
				if b.N > 100 {
					break
				}
			}
		}).AllocedBytesPerOp()
		if keys.asked > 0 || body.n > 0 {
			t.Errorf("%s: %d lookups, %d bytes of body read", name, keys.asked, body.n)
		}
		if bytes > 4096 {
			t.Errorf("%s: %d bytes allocated", name, bytes)
		}
	}
}

type countingBody struct {
	r io.Reader
	n int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += n
	return n, err
}

func (*countingBody) Close() error { return nil }

func TestBodyIsNotReadBeforeTheSignatureHolds(t *testing.T) {
	n := newNode(t)
	r := n.signed(t, "hello")
	r.Header.Set(signer.HeaderOperation, "op-2")
	body := &countingBody{r: strings.NewReader("hello")}
	r.Body = body
	_, err := n.verifier.Verify(r, signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagSignature || body.n != 0 {
		t.Errorf("got %v, %d bytes read", err, body.n)
	}
}

// endless is a body without an end.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	return len(p), nil
}

func (*endless) Close() error { return nil }

func TestEndlessBodyIsReadUpToTheCapOnly(t *testing.T) {
	const limit = 1 << 20
	n := newNode(t, func(_ *signer.Config, vc *signer.VerifierConfig) { vc.MaxBody = limit })
	r := n.signed(t, "hello")
	body := &endless{}
	r.Body, r.ContentLength = body, -1
	_, err := n.verifier.Verify(r, signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagBodyTooLarge || body.n > 2*limit {
		t.Errorf("got %v, %d bytes read", err, body.n)
	}
	r = n.signed(t, "hello")
	body = &endless{}
	r.Body, r.ContentLength = body, limit+1
	_, err = n.verifier.Verify(r, signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagBodyTooLarge || body.n != 0 {
		t.Errorf("with a Content-Length: got %v, %d bytes read", err, body.n)
	}
}

func TestStatesOfTheReceiverHaveTheirOwnTags(t *testing.T) {
	for name, c := range map[string]struct {
		change func(vc *signer.VerifierConfig)
		tag    signer.Tag
		status int
	}{
		"keys cannot be had": {func(vc *signer.VerifierConfig) { vc.Keys = &countingKeys{err: errors.New("down")} }, signer.TagKeyUnavailable, 503},
		"no such key":        {func(vc *signer.VerifierConfig) { vc.Keys = &countingKeys{err: signer.ErrNotFound} }, signer.TagKeyUnknown, 401},
		"a source that answers with another key": {func(vc *signer.VerifierConfig) {
			vc.Keys = &countingKeys{other: privateKey(9).Public().(ed25519.PublicKey)}
		}, signer.TagKeyUnknown, 401},
		"memory is full":         {func(vc *signer.VerifierConfig) { vc.Replay = refusingStore{signer.ErrReplayFull} }, signer.TagReplayFull, 503},
		"quota is used up":       {func(vc *signer.VerifierConfig) { vc.Replay = refusingStore{signer.ErrReplayQuota} }, signer.TagReplayQuota, 429},
		"store does not answer":  {func(vc *signer.VerifierConfig) { vc.Replay = refusingStore{context.DeadlineExceeded} }, signer.TagReplayUnavailable, 503},
		"store says it was seen": {func(vc *signer.VerifierConfig) { vc.Replay = refusingStore{signer.ErrReplayed} }, signer.TagReplayed, 401},
	} {
		var told []signer.Tag
		n := newNode(t, func(_ *signer.Config, vc *signer.VerifierConfig) {
			c.change(vc)
			vc.OnRefusal = func(peer string, r *signer.Refusal) {
				if peer != "a" {
					t.Errorf("%s: peer %q", name, peer)
				}
				told = append(told, r.Tag)
			}
		})
		_, err := n.verifier.Verify(n.signed(t, "hello"), signer.From{Peer: "a"})
		var r *signer.Refusal
		if !errors.As(err, &r) || r.Tag != c.tag || r.Status != c.status {
			t.Errorf("%s: got %v, want %s with %d", name, err, c.tag, c.status)
			continue
		}
		if len(told) != 1 || told[0] != c.tag || n.verifier.Refusals()[c.tag] != 1 {
			t.Errorf("%s: hook %v, counters %v", name, told, n.verifier.Refusals())
		}
		if want := c.status == 503 || c.status == 429; r.Temporary() != want {
			t.Errorf("%s: temporary %v", name, r.Temporary())
		}
	}
}

func TestSlowBodyIsLateEvenIfItArrives(t *testing.T) {
	n := newNode(t)
	r := n.signed(t, "hello")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hel"), slow{n}, strings.NewReader("lo")))
	_, err := n.verifier.Verify(r, signer.From{Peer: "a"})
	if tag := tagOf(t, err); tag != signer.TagBodyStalled {
		t.Errorf("got %v", err)
	}
}

// slow lets time pass and yields nothing.
type slow struct{ n *node }

func (s slow) Read([]byte) (int, error) {
	s.n.now = s.n.now.Add(signer.DefaultBodyTimeout + time.Second)
	return 0, io.EOF
}

func TestVerifierRefusesABadConfiguration(t *testing.T) {
	good := signer.VerifierConfig{Keys: directory(t), Recipient: signer.Names("b")}
	for field, change := range map[string]func(c *signer.VerifierConfig){
		"Keys":           func(c *signer.VerifierConfig) { c.Keys = nil },
		"Recipient":      func(c *signer.VerifierConfig) { c.Recipient = nil },
		"Authority":      func(c *signer.VerifierConfig) { c.Authority = "B.example:443" },
		"MaxAge":         func(c *signer.VerifierConfig) { c.MaxAge = -1 },
		"Skew":           func(c *signer.VerifierConfig) { c.Skew = -1 },
		"BodyTimeout":    func(c *signer.VerifierConfig) { c.BodyTimeout = -1 },
		"StreamTimeout":  func(c *signer.VerifierConfig) { c.StreamTimeout = -1 },
		"AIMemoryWindow": func(c *signer.VerifierConfig) { c.AIMemoryWindow = 1 << 62 },
		"MaxBody":        func(c *signer.VerifierConfig) { c.MaxBody = -1 },
	} {
		c := good
		change(&c)
		if _, err := signer.NewVerifier(c); !errors.Is(err, signer.ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, err := signer.NewVerifier(good); err != nil {
		t.Error(err)
	}
}

func TestUnknownWireIsRefusedAndNeverStreamed(t *testing.T) {
	n := newNode(t)
	_, err := n.verifier.Verify(n.signed(t, "hello"), signer.From{Peer: "a", Wire: 7})
	if tag := tagOf(t, err); tag != signer.TagWire {
		t.Errorf("got %v", err)
	}
	if _, err := n.verifier.VerifyStream(n.signed(t, "hello"), signer.From{Peer: "a", Wire: signer.WireAIMemory}, 0); !errors.Is(err, signer.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	for wire, want := range map[signer.Wire]string{signer.WireFederation: "federation", signer.WireAIMemory: "ai-memory", 7: "Wire(7)"} {
		if wire.String() != want {
			t.Errorf("got %s", wire)
		}
	}
}
