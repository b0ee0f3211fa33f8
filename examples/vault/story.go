package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alphaonedev/federation/sdk"
)

// story starts the nodes, and rotates everything that they have from Vault while they push to one another.
func story(ctx context.Context, s *server, say func(string, ...any)) error {
	listeners := map[string]net.Listener{}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners[name] = l
	}
	var nodes []*node
	for _, name := range names {
		n, err := newNode(ctx, s, name, listeners)
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		defer n.close()
		nodes = append(nodes, n)
		status := n.fed.Status()
		say("node %s is up: %v until %s, signs with %.12s…", name, status.Names, status.NotAfter.Format(time.TimeOnly), status.SigningKey)
	}
	t := startTraffic(ctx, nodes)
	steps := []struct {
		what string
		do   func() error
	}{
		{"the Transit keys are rotated", func() error { return rotateKeys(ctx, s, nodes) }},
		{"the CA is replaced by a cross-signed one", func() error { return rotateIssuer(ctx, s, nodes) }},
		{"every certificate is renewed under the new CA", func() error { return renew(ctx, nodes) }},
	}
	for _, step := range steps {
		before := t.done.Load()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		err := eventually(ctx, func() bool { return t.done.Load() > before+20 || t.err() != nil })
		if err = errors.Join(t.err(), err); err != nil {
			return fmt.Errorf("%s: after it: %w", step.what, err)
		}
		say("%s; %d messages so far", step.what, t.done.Load())
	}
	if err := t.stop(); err != nil {
		return err
	}
	say("%d messages, each signed in Vault and acknowledged by two of three nodes; none failed", t.done.Load())
	return nil
}

func rotateKeys(ctx context.Context, s *server, nodes []*node) error {
	before := map[*node]string{}
	for _, n := range nodes {
		before[n] = n.fed.Status().SigningKey
		if _, err := s.write(ctx, transitMount+"/keys/federation-"+n.name+"/rotate", nil); err != nil {
			return err
		}
	}
	return eventually(ctx, func() bool {
		for _, n := range nodes {
			if n.fed.Status().SigningKey == before[n] {
				return false
			}
		}
		return true
	})
}

// rotateIssuer makes a second root whose certificate the first has signed too, and makes it the default. Peers that
// know only the first root accept what the second one signs.
func rotateIssuer(ctx context.Context, s *server, nodes []*node) error {
	root, err := s.write(ctx, pkiMount+"/root/generate/internal", map[string]any{
		"common_name": "Mesh Root 2", "issuer_name": "root-2", "key_name": "key-2", "key_type": "ec", "ttl": "8760h",
	})
	if err != nil {
		return err
	}
	csr, err := s.write(ctx, pkiMount+"/intermediate/cross-sign", map[string]any{"common_name": "Mesh Root 2", "key_ref": "key-2"})
	if err != nil {
		return err
	}
	cross, err := s.write(ctx, pkiMount+"/issuer/root-1/sign-intermediate", map[string]any{
		"csr": csr["csr"], "common_name": "Mesh Root 2", "use_csr_values": true, "ttl": "4380h",
	})
	if err != nil {
		return err
	}
	imported, err := s.write(ctx, pkiMount+"/issuers/import/cert", map[string]any{"pem_bundle": cross["certificate"]})
	if err != nil {
		return err
	}
	ids, _ := imported["imported_issuers"].([]any)
	if len(ids) == 0 {
		return fmt.Errorf("vault did not take the cross-signed certificate")
	}
	if _, err := s.write(ctx, pkiMount+"/issuer/root-2", map[string]any{
		"issuer_name": "root-2", "manual_chain": []any{root["issuer_id"], ids[0], "root-1"},
	}); err != nil {
		return err
	}
	if _, err := s.write(ctx, pkiMount+"/config/issuers", map[string]any{"default": "root-2"}); err != nil {
		return err
	}
	return eventually(ctx, func() bool {
		for _, n := range nodes {
			if n.fed.Status().Trust.Generation < 2 {
				return false
			}
		}
		return true
	})
}

// renew does at once what is done at two thirds of a certificate's life.
func renew(ctx context.Context, nodes []*node) error {
	for _, n := range nodes {
		n.identity.Renew()
		if err := n.fed.Refresh(ctx); err != nil {
			return err
		}
	}
	return nil
}

// traffic is pushes from every node, all the time.
type traffic struct {
	done   atomic.Int64
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed error
}

func startTraffic(ctx context.Context, nodes []*node) *traffic {
	t := &traffic{}
	run, cancel := context.WithCancel(ctx)
	t.cancel = cancel
	for _, n := range nodes {
		t.wg.Go(func() {
			for i := 0; run.Err() == nil; i++ {
				if _, err := n.fed.Push(ctx, sdk.Message{Body: fmt.Appendf(nil, "message %d of %s", i, n.name)}); err != nil {
					t.mu.Lock()
					t.failed = fmt.Errorf("message %d of node %s: %w", i, n.name, err)
					t.mu.Unlock()
					return
				}
				t.done.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return t
}

// err is why a message failed; nil: none did.
func (t *traffic) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *traffic) stop() error {
	t.cancel()
	t.wg.Wait()
	return t.failed
}

func eventually(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
