package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

func lookHuman(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, t.start)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.path, t.args...)
	cmd.Env, cmd.Dir = t.env, "/"
	if len(cmd.Env) == 0 {
		cmd.Env = []string{"LANG=C"} // an empty list would mean this process's own
	}
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it ran on for %v", t.start)
	case err == nil:
		return errors.New("it exited with status 0")
	case errs.Len() == 0:
		return fmt.Errorf("it exited with %w, and said nothing on standard error", err)
	case bytes.HasPrefix(out.Bytes(), []byte("1|")):
		return errors.New("it printed a handshake line")
	}
	return nil
}

func lookHandshake(ctx context.Context, t *target) error {
	p, err := t.spawn(ctx)
	if err != nil {
		return err
	}
	p.close()
	return nil
}

func lookStrangers(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.health(ctx, p.conn); err != nil {
		return fmt.Errorf("the host itself gets nowhere: %w%s", err, p.tail())
	}
	other, _, err := certificate()
	if err != nil {
		return err
	}
	strangers := []struct {
		who  string
		dial func() (*grpc.ClientConn, error)
	}{
		{"one without TLS", func() (*grpc.ClientConn, error) { return p.dial(insecure.NewCredentials()) }},
		{"one without a certificate", func() (*grpc.ClientConn, error) { return p.dial(p.tls(nil)) }},
		{"one with a certificate of its own", func() (*grpc.ClientConn, error) { return p.dial(p.tls(&other)) }},
	}
	for _, s := range strangers {
		conn, err := s.dial()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = p.health(ctx, conn)
		cancel()
		conn.Close()
		if err == nil {
			return fmt.Errorf("a stranger was answered: %s", s.who)
		}
	}
	if err := p.health(ctx, p.conn); err != nil {
		return fmt.Errorf("after the strangers the host gets nowhere: %w%s", err, p.tail())
	}
	return nil
}

func (p *process) health(ctx context.Context, conn *grpc.ClientConn) error {
	r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	if err != nil {
		return err
	}
	if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("it answers %v", r.Status)
	}
	return nil
}

func lookHealth(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	return p.health(ctx, p.conn)
}

func lookInfo(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	info, err := p.info(ctx)
	if err != nil {
		return err
	}
	t.name, t.version = info.Name, info.Version
	again, err := p.info(ctx)
	if err != nil {
		return fmt.Errorf("a second time: %w", err)
	}
	switch {
	case !proto.Equal(info, again):
		return fmt.Errorf("a second time it says {%v}, before it was {%v}", again, info)
	case !validName(info.Name):
		return fmt.Errorf("the name is %q", info.Name)
	case info.Version == "" || len(info.Version) > 64:
		return fmt.Errorf("the version is %q", info.Version)
	}
	for _, r := range info.Roles {
		if r >= pluginpb.Role_ROLE_TRUST && r <= pluginpb.Role_ROLE_KEY {
			return nil
		}
	}
	return fmt.Errorf("the roles are %v", info.Roles)
}

func (p *process) info(ctx context.Context) (*pluginpb.InfoResponse, error) {
	return pluginpb.NewLifecycleClient(p.conn).Info(ctx, &pluginpb.InfoRequest{}, grpc.WaitForReady(true))
}

func validName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func lookUnconfigured(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	for _, got := range p.pulls(ctx) {
		if got.err == nil {
			return fmt.Errorf("%v answered", got.role)
		}
	}
	if _, err := p.info(ctx); err != nil {
		return fmt.Errorf("afterwards Info fails: %w%s", err, p.tail())
	}
	return nil
}

// A pull is what the pull of one role came to.
type pull struct {
	role pluginpb.Role
	err  error
}

// pulls calls the pull of every role once, and tells of them in the order of the roles, so that a verdict is the same
// each time.
func (p *process) pulls(ctx context.Context) []pull {
	_, trust := pluginpb.NewTrustClient(p.conn).TrustBundle(ctx, &pluginpb.TrustBundleRequest{}, grpc.WaitForReady(true))
	_, identity := pluginpb.NewIdentityClient(p.conn).Identity(ctx, &pluginpb.IdentityRequest{})
	_, key := pluginpb.NewKeyClient(p.conn).SigningKeys(ctx, &pluginpb.SigningKeysRequest{})
	return []pull{
		{pluginpb.Role_ROLE_TRUST, p.t.noted(trust)},
		{pluginpb.Role_ROLE_IDENTITY, p.t.noted(identity)},
		{pluginpb.Role_ROLE_KEY, p.t.noted(key)},
	}
}

// serves reports the first configured role that does not answer.
func (p *process) serves(ctx context.Context, roles []pluginpb.Role) error {
	for _, got := range p.pulls(ctx) {
		if has(roles, got.role) && got.err != nil {
			return fmt.Errorf("%v: %w%s", got.role, got.err, p.tail())
		}
	}
	return nil
}

func lookConfigure(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	info, err := p.info(ctx)
	if err != nil {
		return err
	}
	answer, err := p.configure(ctx, t.configuration(1))
	if err != nil {
		return fmt.Errorf("calling Configure: %w%s", err, p.tail())
	}
	roles := answer.Roles
	after, err := p.info(ctx)
	if err != nil {
		return fmt.Errorf("calling Info after Configure: %w", err)
	}
	if !proto.Equal(info, after) {
		return fmt.Errorf("after Configure Info says {%v}, before it was {%v}", after, info)
	}
	if len(roles) == 0 {
		return errors.New("the answer to Configure names no role")
	}
	for _, r := range roles {
		if !has(info.Roles, r) {
			return fmt.Errorf("the answer to Configure names %v, which Info does not offer (%v)", r, info.Roles)
		}
	}
	return p.serves(ctx, roles)
}

func lookConfigureAgain(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	first, err := p.configure(ctx, t.configuration(5))
	if err != nil {
		return err
	}
	again := func() error {
		again, err := p.configure(ctx, t.configuration(5))
		if err != nil {
			return err
		}
		if !slices.Equal(first.Roles, again.Roles) {
			return fmt.Errorf("it gives %v, before it was %v", again.Roles, first.Roles)
		}
		return nil
	}
	if err := p.unmoved(ctx, first.Roles, again); err != nil {
		return fmt.Errorf("the same revision again: %w", err)
	}
	if _, err := p.configure(ctx, t.configuration(4)); status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("an older revision: %v, want INVALID_ARGUMENT", err)
	}
	return p.serves(ctx, first.Roles)
}

func lookConfigureBad(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	for _, bad := range t.badConfigurations(2) {
		err := p.unmoved(ctx, roles, func() error {
			if _, err := p.configure(ctx, bad); status.Code(err) != codes.InvalidArgument {
				return refusal{fmt.Errorf("a setting that it cannot know (%s): %v, want INVALID_ARGUMENT", noSuchSetting, err)}
			}
			return nil
		})
		switch {
		case errors.As(err, new(refusal)):
			return err
		case err != nil:
			return fmt.Errorf("after a bad configuration the old one does not serve: %w", err)
		}
	}
	// The host has not counted what was refused.
	if _, err := p.configure(ctx, t.configuration(2)); err != nil {
		return fmt.Errorf("after a bad configuration a good one, with the revision that the bad one had, is refused: %w", err)
	}
	return p.serves(ctx, roles)
}

// A refusal is an error about how a configuration was, or was not, refused.
type refusal struct{ error }

func lookValidate(ctx context.Context, t *target) error {
	p, err := t.raw(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	validate := func(c *pluginpb.Configuration) error {
		_, err := pluginpb.NewLifecycleClient(p.conn).Validate(ctx, &pluginpb.ValidateRequest{Configuration: c}, grpc.WaitForReady(true))
		return t.noted(err)
	}
	err = validate(t.configuration(1))
	if status.Code(err) == codes.Unimplemented {
		if _, err := p.info(ctx); err != nil {
			return fmt.Errorf("afterwards Info fails: %w%s", err, p.tail())
		}
		return skip{"only Configure can tell (Validate is UNIMPLEMENTED)"}
	}
	if err != nil {
		return fmt.Errorf("a good configuration: %w%s", err, p.tail())
	}
	for _, got := range p.pulls(ctx) {
		if got.err == nil {
			return fmt.Errorf("after Validate, and without Configure, %v answered", got.role)
		}
	}
	answer, err := p.configure(ctx, t.configuration(1))
	if err != nil {
		return fmt.Errorf("a configuration that Validate took is refused: %w", err)
	}
	for _, bad := range t.badConfigurations(2) {
		err := p.unmoved(ctx, answer.Roles, func() error {
			if err := validate(bad); status.Code(err) != codes.InvalidArgument {
				return fmt.Errorf("a setting that it cannot know (%s): %v, want INVALID_ARGUMENT", noSuchSetting, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func lookConfigureTogether(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			_, err := p.configure(ctx, t.configuration(uint64(2+i)))
			if status.Code(err) != codes.InvalidArgument { // an older one, by then
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w%s", err, p.tail())
	}
	if _, err := p.configure(ctx, t.configuration(17)); err != nil {
		return fmt.Errorf("the latest revision again: %w", err)
	}
	return p.serves(ctx, roles)
}

func lookRoles(ctx context.Context, t *target) error {
	p, roles, err := t.configured(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	looked := false
	for _, got := range p.pulls(ctx) {
		if has(roles, got.role) {
			continue
		}
		looked = true
		if status.Code(got.err) != codes.Unimplemented {
			return fmt.Errorf("%v: %v, want UNIMPLEMENTED", got.role, got.err)
		}
		if err := watchOnce(ctx, p, got.role); !errors.Is(err, errNoWatch) {
			return fmt.Errorf("%v: Watch: %v, want UNIMPLEMENTED", got.role, err)
		}
	}
	if !looked {
		return skip{"the plugin has every role"}
	}
	return nil
}
