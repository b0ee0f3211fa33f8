package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/alphaonedev/federation/internal/stepcatest"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

// A story is the nodes, their backends, and what happens to them.
type story struct {
	dir, self string
	start     time.Time
	ca        *stepcatest.CA
	vault     *vaultServer
	nodes     []*node
	sent      int
}

func (s *story) say(format string, args ...any) {
	fmt.Printf("%6.2fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// backends starts a step-ca and a Vault and sets Vault up as docs/vault.md says.
func (s *story) backends(ctx context.Context) (err error) {
	if s.ca, err = stepcatest.Start(stepcatest.Options{Name: "company", Intermediates: 2}); err != nil {
		return err
	}
	if s.vault, err = startVault(ctx); err != nil {
		return err
	}
	s.say("a step-ca at %s and a Vault at %s", s.ca.URL, s.vault.address)
	return s.vault.setUp(ctx, []string{"a", "b", "c"})
}

func (s *story) join(ctx context.Context) error {
	for _, name := range []string{"a", "b", "c"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, &node{name: name, addr: l.Addr().String(), listener: l})
	}
	for _, n := range s.nodes {
		if err := n.join(ctx, s); err != nil {
			return fmt.Errorf("node %s: %w", n.name, err)
		}
		how := "in its process"
		if n.plugin != nil {
			how = fmt.Sprintf("as the plugin %q, process %d", n.plugin.Status().Name, n.plugin.Status().PID)
		}
		s.say("%s joined as %s: certificate from step-ca %s, signatures from Vault, roots from both", n.name, n.fed.ID(), how)
	}
	return s.push(ctx)
}

// push writes a message on a that all three nodes must sign for.
func (s *story) push(ctx context.Context) error {
	s.sent++
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := s.nodes[0].fed.Push(ctx, sdk.Message{Body: fmt.Appendf(nil, "message %d", s.sent)})
	if err != nil {
		return fmt.Errorf("message %d: %w", s.sent, err)
	}
	if r.Acked != 3 {
		return fmt.Errorf("message %d: %d of %d nodes signed for it", s.sent, r.Acked, r.N)
	}
	return nil
}

// pushUntil pushes until something holds, and fails with the first message that fails.
func (s *story) pushUntil(ctx context.Context, done func() bool) (messages int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for ; messages == 0 || !done(); messages++ {
		if err := s.push(ctx); err != nil {
			return messages, err
		}
		select {
		case <-ctx.Done():
			return messages, fmt.Errorf("waited in vain: %+v: %w", s.standing(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return messages, nil
}

// turn lets every certificate be renewed and every signing key be replaced.
func (s *story) turn(ctx context.Context) error {
	before := s.standing()
	for _, n := range s.nodes {
		if err := s.vault.write(ctx, "transit/keys/"+n.name+"/rotate", nil); err != nil {
			return err
		}
	}
	messages, err := s.pushUntil(ctx, func() bool {
		for i, now := range s.standing() {
			if now.certificate == before[i].certificate || now.key == before[i].key {
				return false
			}
		}
		return true
	})
	s.say("%d messages passed while step-ca renewed every certificate and Vault replaced every signing key", messages)
	return err
}

// killPlugin kills c's plugin; c goes on with what it has, and the plugin is started again.
func (s *story) killPlugin(ctx context.Context) error {
	p := s.nodes[2].plugin
	process, err := os.FindProcess(p.Status().PID)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	messages, err := s.pushUntil(ctx, func() bool { st := p.Status(); return st.Restarts > 0 && st.State == plugin.Serving })
	s.say("%d messages passed while c's plugin was killed and came back as process %d", messages, p.Status().PID)
	return err
}

// outages takes one backend away, then the other.
func (s *story) outages(ctx context.Context) error {
	if err := s.ca.Stop(); err != nil {
		return err
	}
	end := time.Now().Add(time.Second)
	messages, err := s.pushUntil(ctx, func() bool { return time.Now().After(end) })
	if err != nil {
		return err
	}
	if err := s.ca.Start(); err != nil {
		return err
	}
	s.say("%d messages passed while step-ca was away for a second", messages)

	if err := s.vault.seal(ctx); err != nil {
		return err
	}
	unsealed := make(chan error, 1)
	go func() {
		time.Sleep(time.Second)
		unsealed <- s.vault.unseal(ctx)
	}()
	began := time.Now()
	messages, err = s.pushUntil(ctx, func() bool { return len(unsealed) > 0 })
	if uerr := <-unsealed; err == nil {
		err = uerr
	}
	if err == nil {
		s.say("%d messages passed, late and not lost, while Vault was sealed (%v)", messages, time.Since(began).Round(100*time.Millisecond))
	}
	return err
}

// A standing is which certificate and which signing key a node has in service.
type standing struct {
	certificate string
	key         uint64
}

func (s *story) standing() (out []standing) {
	for _, n := range s.nodes {
		st := n.fed.Status()
		out = append(out, standing{st.Fingerprint, st.Key.Generation})
	}
	return out
}

func (s *story) end() {
	for _, n := range s.nodes {
		n.end()
	}
	if s.vault != nil {
		s.vault.end()
	}
	if s.ca != nil {
		_ = s.ca.Close()
	}
}
