package plugin

import (
	"math/rand/v2"
	"time"
)

const (
	// settled is how long a process must have served for its end to be a crash, and no failure to start.
	settled = 500 * time.Millisecond
	// worked bounds the count of crashes in a row for a process that settled and was of use: the next start
	// waits for up to MinBackoff << (worked-1).
	worked = 2
)

// supervise starts the plugin again whenever it ends, until Close.
func (p *Plugin) supervise() {
	defer close(p.done)
	crashes := 0 // in a row, and starts that failed
	for {
		p.mu.Lock()
		in, changed := p.current, p.changed
		p.mu.Unlock()
		if in != nil {
			select {
			case <-in.dead:
				var delay time.Duration
				delay, crashes = p.pause(crashes, time.Since(in.since), in.answered.Load())
				p.lost(in, delay)
			case <-changed: // Replace
				crashes = 0
			case <-p.ctx.Done():
				p.shut()
				return
			}
			continue
		}
		p.mu.Lock()
		wait := time.Until(p.next)
		p.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			if err := p.restart(); err != nil {
				var delay time.Duration
				delay, crashes = p.pause(crashes, 0, false)
				p.failed(err, delay)
			}
		case <-changed: // Replace
			crashes = 0
		case <-p.ctx.Done():
			timer.Stop()
			p.shut()
			return
		}
		timer.Stop()
	}
}

// pause is the wait after the end of a process that served for lived, and answered a call or did not, and the
// count of crashes in a row from then on. Limits has the rule in words.
func (p *Plugin) pause(crashes int, lived time.Duration, answered bool) (time.Duration, int) {
	switch {
	case lived < settled:
	case lived >= p.limits.MaxBackoff:
		crashes = 0
	case answered:
		crashes = min(crashes, worked)
	}
	if crashes == 0 {
		if lived >= settled {
			return 0, 1
		}
		crashes = 1
	}
	return p.backoff(crashes - 1), crashes + 1
}

// backoff is the wait before the next start: full jitter under a ceiling that doubles.
func (p *Plugin) backoff(failures int) time.Duration {
	l := p.limits
	ceiling := l.MinBackoff << min(failures, 20)
	if ceiling > l.MaxBackoff || ceiling <= 0 {
		ceiling = l.MaxBackoff
	}
	return rand.N(ceiling) + 1
}

// lost takes a dead instance out of service and ends what is left of it.
func (p *Plugin) lost(in *instance, delay time.Duration) {
	p.mu.Lock()
	if p.current == in {
		p.current = nil
		p.enter(Degraded)
		p.lastErr = in.cause.Error()
		p.next = time.Now().Add(delay)
		if in.hung {
			p.hangs++
		}
		p.announce()
	}
	p.mu.Unlock()
	kind := EventExited
	if in.hung {
		kind = EventHung
	}
	p.log.Warn("plugin is gone; starting it again", "generation", in.generation, "pid", in.pid(), "error", in.cause, "in", delay)
	in.stop(true)
	p.event(Event{
		Kind: kind, Generation: in.generation, Digest: in.digest(), PID: in.pid(),
		Err: in.cause, Delay: delay,
	})
}

func (p *Plugin) failed(err error, delay time.Duration) {
	if p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	p.lastErr = err.Error()
	p.next = time.Now().Add(delay)
	generation := p.lastGen
	p.mu.Unlock()
	p.log.Error("plugin does not start", "error", err, "again in", delay)
	p.event(Event{Kind: EventFailed, Generation: generation, Err: err, Delay: delay})
}

// restart starts another process of the version in force, with the configuration in force.
func (p *Plugin) restart() error {
	p.images.RLock()
	defer p.images.RUnlock()
	p.mu.Lock()
	im, c, s, epoch := p.image, p.config, p.settings, p.epoch
	p.mu.Unlock()
	in, err := p.start(p.ctx, im, &c, s)
	if err != nil {
		return err
	}
	for {
		again := false
		if p.serve(in, func() bool {
			again = p.settings.Revision != in.revision
			s = p.settings
			if again || p.epoch != epoch || p.current != nil {
				return false
			}
			p.restarts++
			return true
		}) {
			return nil
		}
		if !again {
			in.stop(false) // Replace was faster
			return nil
		}
		roles, err := in.configure(p.ctx, s)
		if err != nil {
			in.stop(true)
			return err
		}
		in.roles, in.revision = roles, s.Revision
	}
}

// shut ends everything.
func (p *Plugin) shut() {
	p.mu.Lock()
	in := p.current
	p.current = nil
	p.enter(Closed)
	p.announce()
	p.mu.Unlock()
	if in != nil {
		in.stop(false)
	}
	p.retiring.Wait()
	if p.image != nil {
		p.image.close()
	}
	e := Event{Kind: EventClosed}
	if in != nil {
		e.Generation, e.Digest, e.PID = in.generation, in.digest(), in.pid()
	}
	p.event(e)
}
