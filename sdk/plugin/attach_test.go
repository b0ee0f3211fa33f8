package plugin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

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

func TestAConfigHidesAttachHoweverItIsPrinted(t *testing.T) {
	const text = "as-good-as-a-password"
	c := plugin.Config{Attach: text, InstanceID: "node-7"}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(h).Info("opening", "config", c, "pointer", &c, "group", slog.AnyValue([]plugin.Config{c}))
	}
	hclog.New(&hclog.LoggerOptions{Output: &logged, JSONFormat: true}).Info("opening", "config", c)
	hclog.New(&hclog.LoggerOptions{Output: &logged}).Info("opening", "config", &c)
	said := map[string]string{"a log": logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		said[verb] = fmt.Sprintf(verb+" "+verb, c, &c)
	}
	for how, s := range said {
		if strings.Contains(s, text) || strings.Contains(s, hex.EncodeToString([]byte(text))) {
			t.Errorf("%s: %s", how, s)
		}
	}
	if s := fmt.Sprintf("%+v", c); !strings.Contains(s, "InstanceID:node-7") || !strings.Contains(s, "Attach:[secret]") {
		t.Errorf("it prints %s", s)
	}
	if s := fmt.Sprintf("%+v", plugin.Config{}); !strings.Contains(s, "Attach: ") {
		t.Errorf("without Attach it prints %s", s)
	}
}
