package plugin_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func TestAProviderCanBeDebuggedInItsOwnProcess(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- (&plugin.Server{Name: "debugged", Configure: good}).Debug(ctx, w, testLogger(t))
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c, _ := material(t, plugin.Config{Attach: strings.TrimSpace(line), Logger: testLogger(t)})
	p := open(t, c)
	if err := pullRole(within(t), p, fault.RoleIdentity); err != nil {
		t.Error(err)
	}
	if s := p.Status(); s.Name != "debugged" || s.PID != 0 {
		t.Errorf("status %+v", s)
	}
	_ = p.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAttachTakesLoopbackOnly(t *testing.T) {
	for name, text := range map[string]string{
		"nonsense":  "%%%",
		"not JSON":  base64.RawURLEncoding.EncodeToString([]byte("x")),
		"elsewhere": base64.RawURLEncoding.EncodeToString([]byte(`{"address":"192.0.2.1:1"}`)),
	} {
		if _, err := plugin.Open(within(t), plugin.Config{Attach: text}); !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}
