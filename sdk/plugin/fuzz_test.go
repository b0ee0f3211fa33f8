package plugin

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

func FuzzHandshakeLine(f *testing.F) {
	for _, line := range []string{"", "hello", "1|1|unix|/s|grpc|", "1|1|unix|/s|grpc|AAAA", "2|1|tcp|x|netrpc", "1|1|unix|/s|grpc|====|true"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h, err := parseHandshake(line)
		if (h == nil) == (err == nil) {
			t.Errorf("%v, %v", h, err)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\n\x00\x1b") || len(err.Error()) > 2000) {
			t.Errorf("the error is not fit for a log: %q", err)
		}
		if h != nil && h.certificate == nil {
			t.Error("no certificate")
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(strings.Repeat("0", 64) + "  a/b\n")
	f.Add(strings.Repeat("f", 64) + " *a\r\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		files, err := ReadManifest(strings.NewReader(text))
		if (len(files) == 0) == (err == nil) {
			t.Errorf("%v, %v", files, err)
		}
		for name, digest := range files {
			if name == "" || !isDigest(digest) {
				t.Errorf("%q %q", name, digest)
			}
		}
	})
}

// FuzzLog reads a log of any bytes: no panic, no secret, no line that is longer than allowed.
func FuzzLog(f *testing.F) {
	for _, line := range []string{
		`{"@level":null}`, `{"@level":"info","@message":"x","k":{"a":[1]}}`, "panic: x\n", "{}", "\x00", strings.Repeat("long", 100),
	} {
		f.Add([]byte(line))
	}
	const secret = "hunter2hunter2"
	f.Fuzz(func(t *testing.T, b []byte) {
		var out strings.Builder
		log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &out, DisableTime: true})
		var lost atomic.Uint64
		l := newLogReader(log, Limits{Line: 128, Lines: 50}, redactor(map[string]Secret{"x": secret}), &lost)
		text := string(b) + "\n" + secret + "\n{\"@level\":\"warn\",\"@message\":\"" + secret + "\"}\n"
		l.read(strings.NewReader(text))
		w := newLineWriter(l, l.printed)
		for half := range strings.SplitAfterSeq(text, "e") {
			w.write([]byte(half))
		}
		if strings.Contains(out.String(), secret) || strings.Contains(l.last(), secret) {
			t.Errorf("a secret came through: %s", out.String())
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 2048 {
				t.Errorf("a line of %d octets", len(line))
			}
		}
	})
}

// FuzzAnswers hands arbitrary bytes to the checks as what a plugin answered.
func FuzzAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		&pluginpb.TrustBundleResponse{Roots: [][]byte{{1}}, RefreshAfterMs: -1},
		&pluginpb.IdentityResponse{Chain: [][]byte{{1}}, SignatureSchemes: []uint32{1 << 31}},
		&pluginpb.SigningKeysResponse{Active: make([]byte, 32), Published: [][]byte{{1}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		var trust pluginpb.TrustBundleResponse
		if proto.Unmarshal(b, &trust) == nil {
			if bundle, err := checkTrust(t.Context(), &trust); err == nil && (len(bundle.Roots) == 0 || bundle.RefreshAfter < 0) {
				t.Errorf("accepted %v", bundle)
			}
		}
		var identity pluginpb.IdentityResponse
		if proto.Unmarshal(b, &identity) == nil {
			if id, err := checkIdentity(&identity, now); err == nil && (id.leaf == nil || len(id.schemes) == 0) {
				t.Errorf("accepted %v", id)
			}
		}
		var keys pluginpb.SigningKeysResponse
		if proto.Unmarshal(b, &keys) == nil {
			if active, _, err := checkKeys(&keys); err == nil && len(active) != 32 {
				t.Errorf("accepted %x", active)
			}
		}
		stdioData(b)
	})
}
