package main

import (
	"context"
	"crypto/ed25519"
	"os"
	"time"
)

// A world is the three nodes and who vouches for them. Node a is this process; b and c are their own.
type world struct {
	*report
	ca    *authority
	keys  map[string][]ed25519.PublicKey // of every node, as a third party would know them
	a     *node
	self  member
	adir  folder
	nodes []*process // b and c
}

// story is what the program shows, in order.
func story(ctx context.Context, r *report) error {
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{report: r, keys: map[string][]ed25519.PublicKey{}}
	defer w.end()
	for _, chapter := range []func(context.Context) error{
		func(ctx context.Context) error { return w.files(dir) },
		w.build,
		w.firstWrite,
		w.rotate,
		w.lose,
		w.comeBack,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// files makes the certificate authority and the files of three nodes.
func (w *world) files(dir string) (err error) {
	if w.ca, err = newAuthority("first CA"); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		f, m := folder(dir+"/"+name), member{Name: name}
		if err := os.Mkdir(string(f), 0o700); err != nil {
			return err
		}
		if err := f.trust(w.ca); err != nil {
			return err
		}
		if err := f.enrol(w.ca, m.serverName()); err != nil {
			return err
		}
		public, err := f.signingKey()
		if err != nil {
			return err
		}
		w.keys[m.serverName()] = []ed25519.PublicKey{public}
		if name == "a" {
			w.adir, w.self = f, m
		} else {
			w.nodes = append(w.nodes, &process{member: m, dir: f})
		}
	}
	w.say("a certificate authority, and for each of a, b and c: roots, certificate, TLS key, signing key")
	return nil
}

// build starts the three nodes.
func (w *world) build(ctx context.Context) (err error) {
	if w.a, err = listen("127.0.0.1:0"); err != nil {
		return err
	}
	w.self.Addr = w.a.listener.Addr().String()
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
	if err := w.a.join(ctx, w.adir, w.peersOf("a")); err != nil {
		return err
	}
	w.say("three processes serve mutual TLS; node a built its federation in %v: %v", since(begun), w.a.fed.Policy())
	begun = time.Now()
	if err := w.a.fed.Warm(ctx); err != nil {
		return err
	}
	w.say("connections to b and c opened ahead of any request in %v", since(begun))
	return nil
}

// peersOf are all nodes but one.
func (w *world) peersOf(name string) (peers []member) {
	for _, m := range []member{w.self, w.nodes[0].member, w.nodes[1].member} {
		if m.Name != name {
			peers = append(peers, m)
		}
	}
	return peers
}

// end stops what still runs.
func (w *world) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if w.a != nil {
		_ = w.a.leave(ctx)
	}
	for _, p := range w.nodes {
		p.stop()
	}
}

func since(t time.Time) time.Duration {
	d := time.Since(t)
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
