package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/alphaonedev/federation/internal/fault"
)

const (
	loginBackoffMin = time.Second
	loginBackoffMax = 30 * time.Second
	aliveFor        = 30 * time.Second // how long a token that Vault confirmed is not doubted again
	doubtMax        = time.Minute      // the longest time between two replacements of tokens that may be alive
)

// A session is one token. Its fields are guarded by login.mu, but for api, which is not changed.
type session struct {
	api       *template // carries the token
	token     string
	ttl       time.Duration // at the last login or renewal; 0: unknown, or for ever
	renewable bool
	renewAt   time.Time // zero: never
	expires   time.Time // zero: unknown, or never
	// confirmed is when Vault last said, asked because of a refusal, that the token lives, by what was refused: the token
	// may have died when the next thing is.
	confirmed map[string]time.Time
}

// login keeps the one session of a client. Whoever needs it and finds it missing or due renews it, one at a
// time, while others go on with the token there is.
type login struct {
	client *Client
	turn   chan struct{} // capacity 1; held while talking to Vault about the token

	mu        sync.Mutex
	current   *session
	failures  int
	notBefore time.Time // no login before this
	last      *callError
	doubts    int       // tokens in a row that were replaced on suspicion, in vain
	doubtAt   time.Time // when the last of them was
}

// session returns a token that is believed to be good.
func (l *login) session(ctx context.Context) (*session, error) {
	base, err := l.client.vault()
	if err != nil {
		return nil, err
	}
	if l.client.cfg.Auth == nil {
		return &session{api: base}, nil
	}
	s, due := l.look()
	if s != nil && !due {
		return s, nil
	}
	if s != nil {
		select {
		case l.turn <- struct{}{}:
			defer func() { <-l.turn }()
		default:
			return s, nil // somebody is renewing it
		}
	} else {
		select {
		case l.turn <- struct{}{}:
			defer func() { <-l.turn }()
		case <-ctx.Done():
			return nil, classify(l.op(), ctx.Err(), 0)
		}
	}
	if s, due = l.look(); s != nil && !due {
		return s, nil
	}
	if s != nil && s.renewable && !l.stale() && l.renew(ctx, s) {
		return s, nil
	}
	next, err := l.login(ctx, base, true)
	if err == nil {
		return next, nil
	}
	if s, _ = l.look(); s != nil { // the old token still has time to live
		l.client.cfg.Logger.Warn("vault login cannot be renewed yet; the present token stays in use", "error", err)
		l.postpone(s)
		return s, nil
	}
	return nil, err
}

// look returns the session, nil once it has expired, and whether it should be renewed or replaced.
func (l *login) look() (s *session, due bool) {
	stale := l.stale()
	l.mu.Lock()
	defer l.mu.Unlock()
	s = l.current
	now := time.Now()
	if s == nil || !s.expires.IsZero() && !now.Before(s.expires) {
		return nil, true
	}
	return s, stale || !s.renewAt.IsZero() && !now.Before(s.renewAt)
}

func (l *login) stale() bool {
	st, ok := l.client.cfg.Auth.(Stale)
	return ok && st.Stale()
}

// own logs in for one request alone. Where a token may be used a few times only, others could use up every one that they
// share with it.
func (l *login) own(ctx context.Context) (*session, error) {
	base, err := l.client.vault()
	if err != nil {
		return nil, err
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, classify(l.op(), ctx.Err(), 0)
	}
	return l.login(ctx, base, false)
}

// login logs in anew; share makes the token that of the client. The caller holds the turn.
func (l *login) login(ctx context.Context, base *template, share bool) (*session, error) {
	now := time.Now()
	l.mu.Lock()
	if l.last != nil && now.Before(l.notBefore) && !l.stale() {
		held := *l.last
		held.retryAfter = l.notBefore.Sub(now)
		l.mu.Unlock()
		return nil, &held
	}
	l.mu.Unlock()

	cfg := l.client.cfg
	n := &note{}
	secret, err := cfg.Auth.Login(context.WithValue(ctx, noteKey{}, n), base.in(cfg.LoginNamespace))
	if err == nil {
		switch {
		case secret != nil && secret.Auth != nil && secret.Auth.MFARequirement != nil:
			err = fmt.Errorf("the login asks for a second factor, which a node cannot give: %w", fault.ErrConfig)
		case secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "":
			err = fmt.Errorf("the answer holds no token: %w", fault.ErrMaterial)
		}
	}
	if err != nil {
		return nil, l.failed(ctx, err, n.retryAfter)
	}
	s := &session{token: secret.Auth.ClientToken}
	s.api = &template{c: base.in("")}
	s.api.c.SetToken(s.token)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.extend(now, secret.Auth)
	if !s.renewAt.IsZero() { // at times of its own: others logged in at the same moment, when Vault came back
		s.renewAt = s.renewAt.Add(-rand.N(s.ttl/3 + 1))
	}
	l.failures, l.last = 0, nil
	if share {
		l.current = s
	}
	cfg.Logger.Info("logged in to vault", "ttl", s.ttl, "renewable", s.renewable)
	return s, nil
}

// failed classifies a failed login and sets when the next may be tried, with full jitter.
func (l *login) failed(ctx context.Context, err error, after time.Duration) *callError {
	e := classify(l.op(), err, after, l.secrets()...)
	if e.status == http.StatusBadRequest {
		e.kind = fault.ErrPermission // Vault's answer to wrong credentials of most methods
	}
	if e.kind == fault.ErrPermission && e.status != 0 { // Vault does not say which of these
		e.msg += " (the credentials are wrong, have expired or are used up, the role is gone, or nothing is mounted there: give others, or check Mount)"
	}
	if ctx.Err() != nil {
		return e // the caller gave up, Vault did not fail
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	wait := min(loginBackoffMin<<min(l.failures, 10), loginBackoffMax)
	l.notBefore = time.Now().Add(max(e.retryAfter, rand.N(wait)))
	kept := *e // callers may add to theirs
	l.last = &kept
	return e
}

// renew extends the token and reports whether it did. The caller holds the turn.
func (l *login) renew(ctx context.Context, s *session) bool {
	secret, err := s.api.in(l.client.cfg.LoginNamespace).Auth().Token().RenewSelfWithContext(ctx, 0)
	if err == nil && (secret == nil || secret.Auth == nil) {
		err = errors.New("the answer holds no lease")
	}
	if err != nil {
		e := classify("renew the token", err, 0, s.token)
		l.client.cfg.Logger.Debug("token not renewed", "error", e)
		if e.kind == fault.ErrUnavailable {
			if kept, _ := l.look(); kept == s {
				l.postpone(s)
				return true
			}
		}
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := s.ttl
	s.extend(time.Now(), secret.Auth)
	if s.ttl > 0 && s.ttl < before/2 {
		s.renewable = false // its maximum is near: log in anew next time
	}
	return true
}

// extend sets the times of a session, with the jitter rolled once.
func (s *session) extend(now time.Time, auth *api.SecretAuth) {
	s.ttl = time.Duration(auth.LeaseDuration) * time.Second
	s.renewable = auth.Renewable
	s.renewAt, s.expires = time.Time{}, time.Time{}
	if s.ttl > 0 {
		s.expires = now.Add(s.ttl)
		due := s.ttl * 2 / 3
		s.renewAt = now.Add(due - rand.N(due/6+1))
	}
}

// postpone waits with the next attempt to renew a token that is still good.
func (l *login) postpone(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := loginBackoffMax
	if !s.expires.IsZero() {
		wait = max(min(wait, time.Until(s.expires)/4), time.Second)
	}
	s.renewAt = time.Now().Add(wait/2 + rand.N(wait/2+1))
}

// refused decides what a 403 means. It returns nil if the token was dead and has been dropped, so that the
// request is worth repeating with another, and otherwise the error to return.
func (l *login) refused(ctx context.Context, s *session, e *callError) error {
	if l.client.cfg.Auth == nil {
		e.msg += " (no Auth is configured, and this needs a token)"
		return e
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return e
	}
	l.mu.Lock()
	replaced := l.current != s
	confirmed := time.Since(s.confirmed[e.op]) < aliveFor
	l.mu.Unlock()
	if replaced {
		return nil
	}
	if !saysDead(e.msg) {
		if confirmed {
			return e
		}
		_, err := s.api.in(l.client.cfg.LoginNamespace).Auth().Token().LookupSelfWithContext(ctx)
		if err == nil {
			l.mu.Lock()
			if s.confirmed == nil {
				s.confirmed = map[string]time.Time{}
			}
			s.confirmed[e.op] = time.Now()
			l.mu.Unlock()
			return e
		}
		doubt := classify("look the token up", err, 0, s.token)
		if doubt.kind != fault.ErrPermission || !saysDead(doubt.msg) && !l.mayDoubt() {
			return e
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == s {
		l.current = nil
		l.client.cfg.Logger.Info("vault no longer knows the token; logging in again")
	}
	return nil
}

// mayDoubt reports whether a token may be replaced on suspicion. Older versions of Vault, 1.16 for one, refuse a dead
// token and a missing right in the same words, and so does every version where the token may not look itself up. That
// its successor may do what was refused proves that it was dead: see cured.
func (l *login) mayDoubt() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.doubts > 0 && now.Sub(l.doubtAt) < min(time.Second<<min(l.doubts, 10), doubtMax) {
		return false
	}
	l.doubts++
	l.doubtAt = now
	return true
}

// cured notes that what one token was refused another may do.
func (l *login) cured() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts = 0
}

// saysDead reports whether Vault says that the token itself is unknown, expired or used up.
func saysDead(msg string) bool {
	return strings.Contains(msg, "invalid token") || strings.Contains(msg, "bad token")
}

// due is how long the token can be left alone; 0: no limit, or there is none to be kept alive.
func (l *login) due() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.current
	if s == nil || s.renewAt.IsZero() || !time.Now().Before(s.expires) {
		return 0
	}
	return max(time.Until(s.renewAt), time.Second)
}

// secrets are the strings that no message may hold.
func (l *login) secrets() []string {
	var all []string
	if h, ok := l.client.cfg.Auth.(interface{ secrets() []string }); ok {
		all = h.secrets()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		all = append(all, l.current.token)
	}
	return all
}

func (l *login) op() string {
	name := "log in"
	if d, ok := l.client.cfg.Auth.(interface{ describe() string }); ok {
		name += " with " + d.describe()
	}
	if ns := l.client.cfg.LoginNamespace; ns != "" {
		name += " in namespace " + ns
	}
	return name
}
