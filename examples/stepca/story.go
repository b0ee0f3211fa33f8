package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/signer"
)

// A story is the nodes, their CA, and what happens to them.
type story struct {
	dir   string
	start time.Time
	ca    *certAuthority
	nodes []*node
	sent  int
}

func (s *story) say(format string, args ...any) {
	fmt.Printf("%6.2fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// enrol starts three nodes, which need nothing but the CA's address, its fingerprint and a password.
func (s *story) enrol(ctx context.Context) error {
	s.say("a step-ca answers at %s; its root has the fingerprint %.16s…", s.ca.URL, s.ca.Fingerprint())
	for _, name := range []string{"a", "b", "c"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, &node{name: name, addr: l.Addr().String(), listener: l})
	}
	for _, n := range s.nodes {
		began := time.Now()
		if err := n.join(ctx, s.ca, s.dir, s.nodes); err != nil {
			return fmt.Errorf("node %s: %w", n.name, err)
		}
		s.say("%s enrolled as %s in %v: roots, certificate, signing key", n.name, n.fed.ID(), time.Since(began).Round(time.Millisecond))
	}
	return s.push(ctx)
}

// push writes a note on a; it counts when two of three nodes have signed for it.
func (s *story) push(ctx context.Context) error {
	s.sent++
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := s.nodes[0].fed.Push(ctx, sdk.Message{Body: fmt.Appendf(nil, "note %d", s.sent), ContentType: "text/plain"})
	if err != nil {
		return fmt.Errorf("note %d: %w", s.sent, err)
	}
	if r.Acked < 2 {
		return fmt.Errorf("note %d: %d of %d nodes have it", s.sent, r.Acked, r.N)
	}
	return nil
}

// vouch looks at the keys that b publishes: each comes with the chain by which the CA vouches for it.
func (s *story) vouch(ctx context.Context) error {
	b := s.nodes[1]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.addr+signer.DirectoryPath, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.nodes[0].fed.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, signer.MaxDirectorySize))
	if err != nil {
		return err
	}
	set, err := signer.ParseJWKS(raw)
	if err != nil {
		return err
	}
	if len(set.Keys) == 0 || len(set.Keys[0].Chain) != 3 {
		return fmt.Errorf("b publishes %d keys, or not with its chain: %s", len(set.Keys), compact(raw))
	}
	leaf := set.Keys[0].Chain[0]
	if pub, ok := leaf.PublicKey.(ed25519.PublicKey); !ok || !pub.Equal(set.Keys[0].Key) {
		return errors.New("b's chain is for another key")
	}
	s.say("b publishes its signing key with a chain of %d certificates, issued to %q by %q", len(set.Keys[0].Chain), leaf.DNSNames, leaf.Issuer.CommonName)
	return nil
}

func compact(raw []byte) string {
	var doc any
	_ = json.Unmarshal(raw, &doc)
	out, _ := json.Marshal(doc)
	return string(out)
}

// renew writes notes while every certificate is renewed with a new key, and every signing key replaced.
func (s *story) renew(ctx context.Context) error {
	before := s.standing()
	notes, err := s.pushUntil(ctx, func() bool {
		for i, now := range s.standing() {
			if now.identity == before[i].identity || now.key == before[i].key {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.say("%d notes passed, none failed, while every node renewed its certificate and replaced its signing key", notes)
	return nil
}

// away is how long the CA is.
const away = 2 * time.Second

// outage takes the CA away and waits until every certificate has been renewed after it.
func (s *story) outage(ctx context.Context) error {
	if err := s.ca.stop(); err != nil {
		return err
	}
	end := time.Now().Add(away)
	notes, err := s.pushUntil(ctx, func() bool { return time.Now().After(end) })
	if err != nil {
		return err
	}
	if err := s.ca.start(ctx); err != nil {
		return err
	}
	before := s.standing()
	more, err := s.pushUntil(ctx, func() bool {
		for i, now := range s.standing() {
			if now.identity <= before[i].identity {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.say("the CA was away for %v: %d notes passed; it is back, every node has renewed, %d more passed", away, notes, more)
	return nil
}

// restart stops c and starts it again: it takes up its state and does not enrol.
func (s *story) restart(ctx context.Context) error {
	c := s.nodes[2]
	st := c.fed.Status()
	before, due := st.Fingerprint, st.NotAfter.Add(-life/3)
	if err := c.leave(ctx); err != nil {
		return err
	}
	if err := c.join(ctx, s.ca, s.dir, s.nodes); err != nil {
		return err
	}
	if st = c.fed.Status(); st.Fingerprint != before && time.Until(due) > life/6 {
		return errors.New("c has another certificate after its restart, though the stored one was not due")
	}
	_, err := s.pushUntil(ctx, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.notes) == s.sent
	})
	if err != nil {
		return err
	}
	s.say("c restarted, took up its stored certificate and keys, and has all %d notes", s.sent)
	return nil
}

// pushUntil writes notes until something holds, and fails with the first that fails.
func (s *story) pushUntil(ctx context.Context, done func() bool) (notes int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for ; !done(); notes++ {
		if err := s.push(ctx); err != nil {
			return notes, err
		}
		select {
		case <-ctx.Done():
			return notes, fmt.Errorf("waited in vain: %+v: %w", s.standing(), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return notes, nil
}

// A standing is which certificate and which keys a node has in service.
type standing struct{ identity, key uint64 }

func (s *story) standing() []standing {
	var out []standing
	for _, n := range s.nodes {
		st := n.fed.Status()
		out = append(out, standing{identity: st.Identity.Generation, key: st.Key.Generation})
	}
	return out
}

func (s *story) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, n := range s.nodes {
		_ = n.leave(ctx)
	}
	if s.ca != nil {
		s.ca.end()
	}
}
