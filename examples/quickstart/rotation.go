package main

import (
	"context"
	"strings"
	"time"
)

// rotate changes certificates, then the authority, while notes are being written.
func (w *world) rotate(ctx context.Context) error {
	t := startTraffic(ctx, w.a)
	defer t.stop()

	begun := time.Now()
	before := w.a.fed.Status().Generation
	if err := w.adir.enrol(w.ca, w.self.serverName()); err != nil {
		return err
	}
	if err := awaits(ctx, func() bool { return w.a.fed.Status().Generation > before }); err != nil {
		return err
	}
	w.say("under traffic: a's certificate replaced; all new requests use it after %v", since(begun))

	begun = time.Now()
	b := w.nodes[0]
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
	w.say("under traffic: a second CA is trusted beside the first by all three nodes after %v", since(begun))
	begun = time.Now()
	if err := w.everywhere(ctx, func(f folder, name string) error { return f.enrol(second, name) }); err != nil {
		return err
	}
	w.say("under traffic: all three have certificates of the second CA after %v", since(begun))
	time.Sleep(100 * time.Millisecond) // traffic with them
	var warm, waited uint64
	enough := func() bool { // a share of a few is none; a slow machine needs a while for them
		warm, waited = w.coldness()
		return warm+waited >= 200
	}
	if err := awaits(ctx, enough); err != nil {
		return err
	}
	// A request that meets another on the only open connection may make a second one.
	w.check("requests ride warm connections while certificates change and an authority is added", waited*20 <= warm,
		"%d of %d requests waited for a handshake", waited, warm+waited)

	begun = time.Now()
	if err := w.everywhere(ctx, func(f folder, _ string) error { return f.trust(second) }); err != nil {
		return err
	}
	w.ca = second
	w.say("under traffic: the first CA is trusted by nobody any more after %v", since(begun))
	time.Sleep(100 * time.Millisecond)
	t.stop()
	w.say("%d notes were written meanwhile", t.writes)
	w.check("no write failed while certificates and authorities changed", t.writes > 0 && len(t.failures) == 0,
		"%d writes, %d failed%s", t.writes, len(t.failures), because(t.failures))
	return w.whole(ctx, "after that every node has every note")
}

// everywhere changes files of all three nodes, and waits until each has put them into service. Node a, which asks the
// others how they stand, comes last; any other order would do.
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
	return awaits(ctx, func() bool { return w.a.standing().later(before) })
}

// coldness counts the requests that found a connection open and those that waited for a handshake.
func (w *world) coldness() (warm, cold uint64) {
	for _, p := range w.a.fed.Status().Peers {
		warm += p.Transport.Attempts - p.Transport.Cold
		cold += p.Transport.Cold
	}
	return warm, cold
}

// whole checks that all nodes hold the same number of notes once the outbox is empty.
func (w *world) whole(ctx context.Context, claim string) error {
	if err := w.a.fed.Flush(ctx); err != nil {
		return err
	}
	held := []int{w.a.standing().Notes}
	same := true
	for _, p := range w.nodes {
		s, err := w.a.ask(ctx, p.member)
		if err != nil {
			return err
		}
		held = append(held, s.Notes)
		same = same && s.Notes == held[0]
	}
	w.check(claim, same, "a, b and c hold %v notes", held)
	return nil
}

func because(failures []string) string {
	if len(failures) == 0 {
		return ""
	}
	return " (" + strings.Join(failures[:min(len(failures), 3)], "; ") + ")"
}
