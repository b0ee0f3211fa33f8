package plugin

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
)

// A Replacement says how a new version compares with the one that it took the place of.
type Replacement struct {
	Old, New Version
	// Changed are the roles for which the two returned different material. That is no fault (a new version
	// may well enrol anew), but worth a look.
	Changed []fault.Role
	// Added are roles that the old version did not have.
	Added []fault.Role
}

// A Version is one version of a plugin, as it ran.
type Version struct {
	Name, Version string
	Generation    uint64
	Digest        string
}

// Replace starts another version beside the one in service, with c, pulls every role from both, and puts
// the new one in service only if it serves every role that the old one does, with material that passes every
// check and does not drop every trusted root. Whoever holds a provider or a key of the Plugin goes on with
// it: calls under way end at the old version, new ones go to the new.
//
// After an error the old version serves as before. c.Logger, c.OnEvent, c.Limits and c.InstanceID are those
// of Open; c's are ignored. Empty Settings and Secrets mean those in force.
func (p *Plugin) Replace(ctx context.Context, c Config) (*Replacement, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("plugin: replace: %w", err)
	}
	if err := p.take(ctx); err != nil {
		return nil, err
	}
	defer p.give()
	// Close ends what is under way.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	p.mu.Lock()
	c.Limits, c.InstanceID, c.Logger, c.OnEvent = p.limits, p.instanceID, p.config.Logger, p.onEvent
	s := p.settings
	p.mu.Unlock()
	if len(c.Settings) > 0 || len(c.Secrets) > 0 {
		s = c.settings(s.Revision + 1)
	} else {
		c.Settings, c.Secrets = s.Values, s.Secrets
	}

	fresh := map[fault.Role]any{}
	r, in, im, err := p.prepare(ctx, &c, s, fresh)
	if err != nil {
		p.log.Error("the new version is not put in service; the old one serves on", "error", err)
		p.event(Event{Kind: EventRefused, Err: err})
		return nil, fmt.Errorf("plugin: replace: %w; the old version serves on", err)
	}

	var old *instance
	var oldImage *image
	swapped := p.serve(in, func() bool {
		if p.state == Closed || p.ctx.Err() != nil || in.isDead() {
			return false
		}
		old, oldImage = p.current, p.image
		p.image, p.config, p.settings = im, c, s
		p.epoch++
		p.cached = fresh // what the new version returned is the last good material from here on
		for role := range fresh {
			p.material[role] = Origin{Generation: in.generation, Digest: in.digest(), At: time.Now()}
		}
		p.retiring.Add(1)
		return true
	})
	if !swapped {
		in.stop(true)
		if im != nil {
			im.close()
		}
		return nil, fmt.Errorf("plugin: replace: %w: the Plugin, or the new version, ended meanwhile", fault.ErrClosed)
	}
	p.event(Event{Kind: EventReplaced, Generation: in.generation, Digest: in.digest(), PID: in.pid()})
	go func() {
		defer p.retiring.Done()
		if old != nil {
			old.retire()
		}
		if oldImage != nil {
			p.images.Lock()
			defer p.images.Unlock()
			oldImage.close()
		}
	}()
	return r, nil
}

// prepare starts the new version, has it answer for every role, which goes into answers, and compares.
func (p *Plugin) prepare(ctx context.Context, c *Config, s Settings, answers map[fault.Role]any) (r *Replacement, in *instance, im *image, err error) {
	defer func() {
		if err == nil {
			return
		}
		if in != nil {
			in.stop(true)
		}
		if im != nil {
			im.close()
		}
	}()
	if c.Attach == "" {
		if im, err = newImage(c); err != nil {
			return nil, nil, im, err
		}
	}
	if in, err = p.start(ctx, im, c, s); err != nil {
		return nil, nil, im, err
	}
	p.mu.Lock()
	old, had := p.current, slices.Clone(p.roles)
	r = &Replacement{
		Old: Version{p.name, p.version, p.served, p.digest},
		New: Version{in.name, in.version, in.generation, in.digest()},
	}
	if old != nil {
		old.uses.Add(1)
		defer old.uses.Done()
	}
	p.mu.Unlock()
	for _, role := range had {
		if !slices.Contains(in.roles, role) {
			return nil, in, im, fmt.Errorf("%w: the new version has no %s role, which the old one serves", fault.ErrUnsupported, role)
		}
	}
	for _, role := range in.roles {
		if !slices.Contains(had, role) {
			r.Added = append(r.Added, role)
		}
		fresh, changed, err := p.compare(ctx, old, in, role, slices.Contains(had, role))
		if err != nil {
			return nil, in, im, err
		}
		answers[role] = fresh
		if changed {
			r.Changed = append(r.Changed, role)
		}
	}
	return r, in, im, nil
}

// compare pulls a role from both versions. The new one must answer; the old one may be as broken as whoever
// replaces it says it is, and then the last good answer stands for it.
func (p *Plugin) compare(ctx context.Context, old, in *instance, role fault.Role, had bool) (fresh any, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.limits.Call)
	defer cancel()
	if fresh, err = p.pullAny(ctx, in, role); err != nil {
		_, said := fromStatus(err, in.logs.redact)
		if w, ok := errors.AsType[*wireError](err); ok {
			said = w.error
		}
		return nil, false, fmt.Errorf("the new version's %s: %w", role, said)
	}
	if !had {
		return fresh, false, nil
	}
	p.mu.Lock()
	known := p.cached[role]
	p.mu.Unlock()
	if old != nil {
		if v, err := p.pullAny(ctx, old, role); err == nil {
			known = v
		}
	}
	switch before := known.(type) {
	case *sdk.TrustBundle:
		now := fresh.(*sdk.TrustBundle)
		kept := 0
		for _, root := range before.Roots {
			if slices.ContainsFunc(now.Roots, root.Equal) {
				kept++
			}
		}
		if kept == 0 {
			return nil, false, fmt.Errorf("%w: the new version's bundle drops every root of the old one", fault.ErrMaterial)
		}
		return fresh, kept < len(before.Roots) || len(now.Roots) != len(before.Roots), nil
	case *sdk.Identity:
		return fresh, !before.Certificate.Leaf.Equal(fresh.(*sdk.Identity).Certificate.Leaf), nil
	case *sdk.KeySet:
		was, _ := before.Active.Public().(ed25519.PublicKey)
		return fresh, !was.Equal(fresh.(*sdk.KeySet).Active.Public()), nil
	}
	return fresh, false, nil
}

func (p *Plugin) pullAny(ctx context.Context, in *instance, role fault.Role) (any, error) {
	switch role {
	case fault.RoleTrust:
		return p.pullTrust(ctx, in)
	case fault.RoleIdentity:
		return p.pullIdentity(ctx, in)
	default:
		return p.pullKeys(ctx, in)
	}
}

// retire lets the calls under way end, Limits.Call at most, and stops the process.
func (in *instance) retire() {
	idle := make(chan struct{})
	go func() {
		in.uses.Wait()
		close(idle)
	}()
	t := time.NewTimer(in.limits.Call)
	defer t.Stop()
	select {
	case <-idle:
	case <-in.dead:
	case <-t.C:
	}
	in.stop(false)
	<-idle // the connection is closed, so every call has ended
}
