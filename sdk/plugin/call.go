package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/alphaonedev/federation/internal/fault"
)

// A wireError is an error that has been put into words already, with the status that it came from.
type wireError struct {
	error
	status error
}

func (e *wireError) Unwrap() error { return e.error }

// call makes one call to the process in service, waiting for one within ctx, and within limit. Where again is
// set, it makes it a second time, once, if the process went away under it. An empty role is none.
func (p *Plugin) call(ctx context.Context, role fault.Role, op string, limit time.Duration, again bool, f func(context.Context, *instance) error) error {
	p.calls.Add(1)
	err := p.try(ctx, role, limit, again, f)
	if err == nil {
		return nil
	}
	p.failures.Add(1)
	if role == "" {
		return err
	}
	var pe *fault.ProviderError
	if errors.As(err, &pe) {
		pe.Role, pe.Op = role, op
		return err
	}
	return &fault.ProviderError{Role: role, Op: op, Err: err}
}

func (p *Plugin) try(parent context.Context, role fault.Role, limit time.Duration, again bool, f func(context.Context, *instance) error) error {
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	for {
		in, err := p.await(ctx, parent, role, limit)
		if err != nil {
			return err
		}
		err = f(ctx, in)
		in.uses.Done()
		if err == nil {
			if role != "" && !in.answered.Load() {
				in.answered.Store(true)
			}
			return nil
		}
		if again && p.ctx.Err() == nil && ctx.Err() == nil && in.wentAway(ctx, err) {
			again = false
			p.retries.Add(1)
			continue
		}
		return p.meaning(parent, ctx, in, limit, err)
	}
}

// await returns the process in service, counted as used, once there is one.
func (p *Plugin) await(ctx, parent context.Context, role fault.Role, limit time.Duration) (*instance, error) {
	for {
		p.mu.Lock()
		in, changed, closed, name, why := p.current, p.changed, p.state == Closed, p.name, p.lastErr
		if in != nil && !in.isDead() {
			if role != "" && !slices.Contains(in.roles, role) {
				err := p.lacksLocked(role)
				p.mu.Unlock()
				return nil, err
			}
			in.uses.Add(1)
			p.mu.Unlock()
			return in, nil
		}
		p.mu.Unlock()
		if closed || p.ctx.Err() != nil {
			return nil, fmt.Errorf("plugin %s: %w", name, fault.ErrClosed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			switch {
			case p.ctx.Err() != nil:
				return nil, fmt.Errorf("plugin %s: %w", name, fault.ErrClosed)
			case parent.Err() != nil:
				return nil, fmt.Errorf("plugin %s: %w: no process serves (%s): %w", name, fault.ErrUnavailable, why, parent.Err())
			default:
				return nil, fmt.Errorf("plugin %s: %w: no process serves after %v (%s)", name, fault.ErrUnavailable, limit, why)
			}
		}
	}
}

// wentAway reports whether a call failed because its process ended. The connection breaks before the end of the
// process is known, on a busy machine long before; while it is broken this waits, within ctx and Limits.Hang.
func (in *instance) wentAway(ctx context.Context, err error) bool {
	if w, ok := errors.AsType[*wireError](err); ok {
		err = w.status
	}
	st, ok := status.FromError(err)
	if !ok || detailOf(st) != nil || (st.Code() != codes.Unavailable && st.Code() != codes.Canceled) {
		return false
	}
	t := time.NewTicker(2 * pipeGrace)
	defer t.Stop()
	for {
		select {
		case <-in.dead:
			return true
		case <-t.C:
			in.suspect()
			if in.conn.GetState() == connectivity.Ready {
				return false // it was the plugin's own answer, or the connection is back
			}
		case <-ctx.Done():
			return false
		}
	}
}

// meaning makes an error of ours of what a call returned.
func (p *Plugin) meaning(parent, ctx context.Context, in *instance, limit time.Duration, err error) error {
	if w, ok := errors.AsType[*wireError](err); ok {
		return w.error
	}
	if end, ok := ctx.Deadline(); ok && status.Code(err) == codes.DeadlineExceeded && time.Until(end) < pipeGrace {
		<-ctx.Done() // the plugin keeps the same deadline, and its clock rang first
	}
	switch {
	case p.ctx.Err() != nil:
		return fmt.Errorf("plugin %s: %w", in.name, fault.ErrClosed)
	case parent.Err() != nil:
		in.suspect()
		return fmt.Errorf("plugin %s: %w", in.name, parent.Err())
	case ctx.Err() != nil:
		in.suspect()
		return fmt.Errorf("plugin %s: %w: no answer within %v", in.name, fault.ErrUnavailable, limit)
	}
	retry, said := fromStatus(err, in.logs.redact)
	said = fmt.Errorf("plugin %s: %w", in.name, said)
	if retry > 0 {
		return &fault.ProviderError{Err: said, RetryAfter: retry}
	}
	return said
}

// reject counts an answer that failed a check and tells of it.
func (p *Plugin) reject(in *instance, role fault.Role, err error) error {
	p.rejected.Add(1)
	err = fmt.Errorf("plugin %s: %w", in.name, err)
	p.log.Error("an answer of the plugin is not usable", "role", role, "generation", in.generation, "error", err)
	p.event(Event{Kind: EventRejected, Generation: in.generation, Digest: in.digest(), PID: in.pid(), Role: role, Err: err})
	return &wireError{err, status.Error(codes.DataLoss, "")}
}

// pulled remembers the last good answer for a role and where it came from.
func (p *Plugin) pulled(in *instance, role fault.Role, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.material[role] = Origin{Generation: in.generation, Digest: in.digest(), At: time.Now()}
	if in == p.current {
		p.cached[role] = v
	}
}

// degraded returns the last good answer for a role while no process serves.
func (p *Plugin) degraded(role fault.Role) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != Degraded {
		return nil
	}
	return p.cached[role]
}

// kick makes those who watch a role pull again.
func (p *Plugin) kick(role fault.Role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ch, r := range p.watchers {
		if r == role {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}
