package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// A world is the three nodes and who vouches for them. Node a is this process; b and c are their own.
type world struct {
	*report
	ca    *authority
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
	w := &world{report: r}
	defer w.end()
	for _, chapter := range []func(context.Context) error{
		func(ctx context.Context) error { return w.found(ctx, dir) },
		w.firstWrite,
		w.rotate,
		w.lose,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// found makes the certificate authority, the files of three nodes, and the nodes.
func (w *world) found(ctx context.Context, dir string) (err error) {
	if w.ca, err = newAuthority("first CA"); err != nil {
		return err
	}
	folders := map[string]folder{}
	for _, name := range []string{"a", "b", "c"} {
		f := folder(dir + "/" + name)
		if err := os.Mkdir(string(f), 0o700); err != nil {
			return err
		}
		folders[name] = f
		if err := f.trust(w.ca); err != nil {
			return err
		}
		if err := f.enrol(w.ca, member{Name: name}.serverName()); err != nil {
			return err
		}
		if err := f.signingKey(); err != nil {
			return err
		}
	}
	w.say("a certificate authority, and for each of a, b and c: roots, certificate, TLS key, signing key")

	w.adir = folders["a"]
	if w.a, err = listen("127.0.0.1:0"); err != nil {
		return err
	}
	w.self = member{"a", w.a.listener.Addr().String()}
	for _, name := range []string{"b", "c"} {
		p, err := launch(ctx, member{name, "127.0.0.1:0"}, folders[name])
		if p != nil {
			w.nodes = append(w.nodes, p)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range w.nodes {
		if err := p.join(w.peersOf(p.Name)); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := w.a.join(ctx, w.adir, w.peersOf("a"), nil); err != nil {
		return err
	}
	policy := w.a.fed.Policy()
	w.say("three processes serve mutual TLS; node a built its federation in %v: a write needs %d of %d nodes",
		time.Since(begun).Round(100*time.Microsecond), policy.Writes, policy.N)
	begun = time.Now()
	if err := w.a.fed.Warm(ctx); err != nil {
		return err
	}
	w.say("connections to %s and %s opened ahead of any request in %v", w.nodes[0].Name, w.nodes[1].Name,
		time.Since(begun).Round(100*time.Microsecond))
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

func (w *world) firstWrite(ctx context.Context) error {
	begun := time.Now()
	acks, failures := w.a.write(ctx, "the first note")
	w.say("a first note: %d of 3 nodes have it after %v", acks, time.Since(begun).Round(100*time.Microsecond))
	_, cold := w.coldness()
	w.check("a first write after Warm waits for no handshake", acks == 3 && cold == 0,
		"%d requests waited for a connection%s", cold, because(failures))
	return nil
}

// rotate changes a certificate, then the authority, while notes are being written.
func (w *world) rotate(ctx context.Context) error {
	t := startTraffic(ctx, w.a)
	defer t.stop()
	b := w.nodes[0]

	begun := time.Now()
	before := w.a.fed.Status()
	if err := w.adir.enrol(w.ca, w.self.serverName()); err != nil {
		return err
	}
	if err := w.a.awaits(ctx, func() bool { return w.a.fed.Status().Generation > before.Generation }); err != nil {
		return err
	}
	w.say("under traffic: a's certificate replaced; all new requests use it after %v", since(begun))

	begun = time.Now()
	was, err := w.a.ask(ctx, b.member)
	if err != nil {
		return err
	}
	if err := b.dir.enrol(w.ca, b.serverName()); err != nil {
		return err
	}
	if err := w.a.until(ctx, b.member, func(s standing) bool { return s.Identity > was.Identity }); err != nil {
		return err
	}
	w.say("under traffic: b's certificate replaced; b serves it after %v", since(begun))

	second, err := newAuthority("second CA")
	if err != nil {
		return err
	}
	begun = time.Now()
	if err := w.everywhere(ctx, func(f folder, _ string) error { return f.trust(w.ca, second) }); err != nil {
		return err
	}
	w.say("under traffic: a second CA, trusted beside the first by all three nodes after %v", since(begun))
	begun = time.Now()
	if err := w.everywhere(ctx, func(f folder, name string) error { return f.enrol(second, name) }); err != nil {
		return err
	}
	w.say("under traffic: all three have certificates of the second CA after %v", since(begun))
	time.Sleep(100 * time.Millisecond) // traffic with them
	warm, waited := w.coldness()
	// A request that meets another on the only open connection may make a second one.
	w.check("requests ride warm connections while certificates change and an authority is added", waited*50 <= warm,
		"%d of %d requests waited for a handshake", waited, warm+waited)

	begun = time.Now()
	if err := w.everywhere(ctx, func(f folder, _ string) error { return f.trust(second) }); err != nil {
		return err
	}
	w.ca = second
	w.say("under traffic: the first CA is trusted by nobody any more after %v", since(begun))
	time.Sleep(100 * time.Millisecond)
	t.stop()
	_, after := w.coldness()
	w.say("%d notes were written meanwhile, %d to all three nodes; connections made under the first CA were cut, and %d requests waited for new ones",
		t.writes, t.whole, after-waited)
	w.check("no request failed while certificates and authorities changed", t.writes > 0 && t.whole == t.writes && len(t.failures) == 0,
		"%d writes, %d requests failed%s", t.writes, len(t.failures), because(t.failures))
	return nil
}

// coldness counts the requests that found a connection open and those that waited for a handshake.
func (w *world) coldness() (warm, cold uint64) {
	for _, p := range w.a.fed.Status().Peers {
		warm += p.Transport.Attempts - p.Transport.Cold
		cold += p.Transport.Cold
	}
	return warm, cold
}

// everywhere changes files of all three nodes, and waits until each has put them into service. Node a comes last,
// so that it has met the others' new certificates when it is to forget the authority of the old ones.
func (w *world) everywhere(ctx context.Context, change func(f folder, serverName string) error) error {
	was := map[string]standing{}
	for _, p := range w.nodes {
		s, err := w.a.ask(ctx, p.member)
		if err != nil {
			return err
		}
		was[p.Name] = s
		if err := change(p.dir, p.serverName()); err != nil {
			return err
		}
	}
	for _, p := range w.nodes {
		if err := w.a.until(ctx, p.member, func(s standing) bool { return s.later(was[p.Name]) }); err != nil {
			return err
		}
	}
	before := w.a.standing()
	if err := change(w.adir, w.self.serverName()); err != nil {
		return err
	}
	return w.a.awaits(ctx, func() bool { return w.a.standing().later(before) })
}

// lose kills one peer, then the other, and brings them back.
func (w *world) lose(ctx context.Context) error {
	need := w.a.fed.Policy().Writes
	for i := len(w.nodes) - 1; i >= 0; i-- {
		w.nodes[i].kill()
		begun := time.Now()
		acks, failures := w.a.write(ctx, "without "+w.nodes[i].Name)
		met := acks >= need
		w.say("%s killed: %d of 3 nodes have the next note after %v; it needs %d: %s%s", w.nodes[i].Name, acks, since(begun),
			need, map[bool]string{true: "met", false: "not met"}[met], because(failures))
		w.check(fmt.Sprintf("with %d of 3 nodes up a write %s", i+1, map[bool]string{true: "counts", false: "does not count, and says why"}[i > 0]),
			met == (i > 0) && acks == i+1 && len(failures) == 2-i, "%d acks", acks)
	}
	for i, p := range w.nodes {
		again, err := launch(ctx, p.member, p.dir)
		if err != nil {
			return err
		}
		w.nodes[i] = again
	}
	for _, p := range w.nodes {
		if err := p.join(w.peersOf(p.Name)); err != nil {
			return err
		}
		if err := w.a.until(ctx, p.member, func(standing) bool { return true }); err != nil {
			return err
		}
	}
	acks, failures := w.a.write(ctx, "together again")
	w.say("both are back: %d of 3 nodes have the last note", acks)
	w.check("peers that come back are found again", acks == 3, "%d acks%s", acks, because(failures))
	return nil
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

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

func because(failures []string) string {
	if len(failures) == 0 {
		return ""
	}
	return " (" + strings.Join(failures[:min(len(failures), 3)], "; ") + ")"
}
