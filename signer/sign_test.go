package signer_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/alphaonedev/federation/signer"
)

func TestSignRefusesWhatHasTwoReadings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *http.Request)
		to     func(a *signer.Audience)
	}{
		"Content-Encoding":       {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, nil},
		"header in another case": {func(r *http.Request) { r.Header["federation-to"] = []string{"c"} }, nil},
		"two media types":        {func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, nil},
		"space in a media type":  {func(r *http.Request) { r.Header.Set("Content-Type", " text/plain") }, nil},
		"empty media type":       {func(r *http.Request) { r.Header.Set("Content-Type", "") }, nil},
		"bare question mark":     {func(r *http.Request) { r.URL.RawQuery, r.URL.ForceQuery = "", true }, nil},
		"space in the query":     {func(r *http.Request) { r.URL.RawQuery = "a b" }, nil},
		"opaque URL":             {func(r *http.Request) { r.URL.Opaque = "opaque" }, nil},
		"relative path":          {func(r *http.Request) { r.URL.Path = "relative" }, nil},
		"no host":                {func(r *http.Request) { r.Host, r.URL.Host = "", "" }, nil},
		"host in Unicode":        {func(r *http.Request) { r.Host = "bücher.example" }, nil},
		"CONNECT":                {func(r *http.Request) { r.Method = "CONNECT" }, nil},
		"no URL":                 {func(r *http.Request) { r.URL = nil }, nil},
		"another length":         {func(r *http.Request) { r.ContentLength = 4 }, nil},
		"no recipient":           {nil, func(a *signer.Audience) { a.To = "" }},
		"space in the recipient": {nil, func(a *signer.Audience) { a.To = "b example" }},
		"operation is a dash":    {nil, func(a *signer.Audience) { a.Operation = "-" }},
		"operation with a break": {nil, func(a *signer.Audience) { a.Operation = "a\nb" }},
		"long operation":         {nil, func(a *signer.Audience) { a.Operation = strings.Repeat("o", 129) }},
		"unknown wire":           {nil, func(a *signer.Audience) { a.Wire = 7 }},
		"bad epoch":              {nil, func(a *signer.Audience) { a.Epoch = "epoch" }},
	} {
		n := newNode(t)
		req := post(t, "hello")
		if c.change != nil {
			c.change(req)
		}
		to := signer.Audience{To: "b.example", Operation: "op-1"}
		if c.to != nil {
			c.to(&to)
		}
		if err := n.signer.Sign(req, to); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
	if err := newNode(t).signer.Sign(nil, signer.Audience{}); !errors.Is(err, signer.ErrConfig) {
		t.Errorf("no request: %v", err)
	}
}

func TestSignRefusesItsFieldsInAnotherCase(t *testing.T) {
	for _, name := range []string{
		"Content-Type", "Content-Encoding", signer.HeaderContentDigest, signer.HeaderTo, signer.HeaderOperation,
		signer.HeaderSignature, signer.HeaderSignatureInput, signer.HeaderMemorySig, signer.HeaderMemoryNonce,
		signer.HeaderPeerID, signer.HeaderIdempotencyKey,
	} {
		req := post(t, "hello")
		req.Header[strings.ToLower(name)] = []string{"x"}
		if err := newNode(t).signer.Sign(req, signer.Audience{To: "b.example"}); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}

func TestSignRefusesAnUnknownFieldOfAIMemory(t *testing.T) {
	for name, to := range map[string]signer.Audience{
		"epoch":       {Wire: signer.WireAIMemory, Epoch: "AAECAwQFBgc"},
		"statement":   {Wire: signer.WireAIMemory, Content: signer.NewContent([]byte("\xfffederation-statement-v1\x00"))},
		"no own name": {Wire: signer.WireAIMemory},
	} {
		n := newNode(t, func(c *signer.Config, _ *signer.VerifierConfig) {
			if name == "no own name" {
				c.PeerID = ""
			}
		})
		if err := n.signer.Sign(post(t, "hello"), to); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}

func TestContentIsDigestedOnceAndSentToMany(t *testing.T) {
	n := newNode(t)
	c := signer.NewContent([]byte("to all"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pushURL, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if err := n.signer.Sign(req, signer.Audience{To: "b.example", Content: c}); err != nil {
				t.Error(err)
				return
			}
			got, err := n.verifier.Verify(received(t, req), signer.From{Peer: "a"})
			if err != nil {
				t.Error(err)
				return
			}
			if string(got.Body) != "to all" || got.Digest != c.Digest() || string(c.Bytes()) != "to all" {
				t.Errorf("got %q", got.Body)
			}
		})
	}
	wg.Wait()
}

func TestBodyIsStillThereAfterSigning(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"with GetBody":    strings.NewReader("hello"),
		"without GetBody": struct{ io.Reader }{strings.NewReader("hello")},
		"large":           strings.NewReader(strings.Repeat("large", 100_000)),
	} {
		n := newNode(t)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pushURL, body)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // signed again for a second attempt
			if err := n.signer.Sign(req, signer.Audience{To: "b.example"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.verifier.Verify(received(t, req), signer.From{Peer: "a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBodyThatIsReadInPiecesIsSigned(t *testing.T) {
	body := strings.Repeat("pieces", 20_000)
	for name, length := range map[string]int64{"of known length": int64(len(body)), "of unknown length": -1} {
		n := newNode(t)
		req := post(t, body)
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(iotest.HalfReader(strings.NewReader(body))), nil
		}
		req.ContentLength = length
		if err := n.signer.Sign(req, signer.Audience{To: "b.example"}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.verifier.Verify(received(t, req), signer.From{Peer: "a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBodyOverTheCapIsNotSigned(t *testing.T) {
	n := newNode(t, func(c *signer.Config, _ *signer.VerifierConfig) { c.MaxBody = 4 })
	for name, body := range map[string]io.Reader{
		"with GetBody":                 strings.NewReader("hello"),
		"with GetBody, length unknown": strings.NewReader("hello"),
		"without GetBody":              struct{ io.Reader }{strings.NewReader("hello")},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pushURL, body)
		if err != nil {
			t.Fatal(err)
		}
		if name == "with GetBody, length unknown" {
			req.ContentLength = -1
		}
		if err := n.signer.Sign(req, signer.Audience{To: "b.example"}); !errors.Is(err, signer.ErrConfig) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestEveryAttemptHasItsOwnNonce(t *testing.T) {
	n := newNode(t)
	seen := map[string]bool{}
	req := post(t, "hello")
	for range 100 {
		if err := n.signer.Sign(req, signer.Audience{To: "b.example"}); err != nil {
			t.Fatal(err)
		}
		in := req.Header.Get(signer.HeaderSignatureInput)
		if seen[in] {
			t.Fatal("a nonce twice")
		}
		seen[in] = true
	}
}

func TestSigningForOneWireRemovesTheOther(t *testing.T) {
	n := newNode(t)
	req := post(t, "hello")
	for range 2 {
		for _, wire := range []signer.Wire{signer.WireAIMemory, signer.WireFederation} {
			if err := n.signer.Sign(req, signer.Audience{To: "b.example", Wire: wire}); err != nil {
				t.Fatal(err)
			}
			r := received(t, req)
			req.Body = io.NopCloser(strings.NewReader("hello"))
			if _, err := n.verifier.Verify(r, signer.From{Peer: "a", Wire: wire}); err != nil {
				t.Errorf("%v: %v", wire, err)
			}
			if wire == signer.WireAIMemory && req.GetBody != nil {
				t.Error("net/http could repeat the message by itself")
			}
		}
	}
}

func TestSignIsBoundedByTheRequestsContextAndChecksARemoteKey(t *testing.T) {
	good := testKey(t, 1)
	for name, c := range map[string]struct {
		sign func(context.Context, []byte) ([]byte, error)
		want error
	}{
		"a key that hangs":          {func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, context.DeadlineExceeded},
		"a signature of another":    {testKey(t, 2).Sign, signer.ErrMaterial},
		"a short signature":         {func(context.Context, []byte) ([]byte, error) { return []byte("short"), nil }, signer.ErrMaterial},
		"a backend that refuses":    {func(context.Context, []byte) ([]byte, error) { return nil, signer.ErrPermission }, signer.ErrPermission},
		"a remote key that is good": {func(_ context.Context, m []byte) ([]byte, error) { return good.Sign(context.Background(), m) }, nil},
	} {
		s, err := signer.New(signer.Config{Key: remoteKey{good.Public(), c.sign}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if errors.Is(c.want, context.DeadlineExceeded) {
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		}
		if err := s.Sign(post(t, "hello").WithContext(ctx), signer.Audience{To: "b.example"}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		cancel()
	}
	s, err := signer.New(signer.Config{Key: good})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.Sign(post(t, "hello").WithContext(ended), signer.Audience{To: "b.example"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got %v", err)
	}
}

func TestSignDoesNotWaitForABodyBeyondItsContext(t *testing.T) {
	body, caller := io.Pipe()
	defer caller.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, pushURL, io.NopCloser(body))
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(20*time.Second, func() { _ = caller.CloseWithError(errors.New("it waited for the body")) })
	defer watchdog.Stop()
	if err := newNode(t).signer.Sign(req, signer.Audience{To: "b.example"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestSignerRefusesABadConfiguration(t *testing.T) {
	for field, c := range map[string]signer.Config{
		"Key":     {},
		"PeerID":  {Key: testKey(t, 1), PeerID: "a b"},
		"Expiry":  {Key: testKey(t, 1), Expiry: time.Millisecond},
		"MaxBody": {Key: testKey(t, 1), MaxBody: -1},
	} {
		if _, err := signer.New(c); !errors.Is(err, signer.ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	_, err := signer.New(signer.Config{Key: remoteKey{public: "an RSA key"}})
	if !errors.Is(err, signer.ErrUnsupported) || !errors.Is(err, signer.ErrConfig) {
		t.Errorf("another kind of key: got %v", err)
	}
}

func TestErrorsNeverShowUserInfo(t *testing.T) {
	n := newNode(t)
	req := post(t, "hello")
	req.URL.User = url.UserPassword("user", "hunter2")
	req.URL.RawQuery = "a b"
	if err := n.signer.Sign(req, signer.Audience{To: "b.example"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsAreReadStrictly(t *testing.T) {
	response := func(status int, h http.Header) *http.Response { return &http.Response{StatusCode: status, Header: h} }
	epoch := "AAECAwQFBgc"
	for name, c := range map[string]struct {
		resp  *http.Response
		tag   signer.Tag
		epoch string
	}{
		"sign again":       {response(401, http.Header{signer.HeaderRefusal: {"sign_again"}, signer.HeaderEpoch: {epoch}}), signer.TagSignAgain, epoch},
		"no epoch":         {response(401, http.Header{signer.HeaderRefusal: {"sign_again"}}), signer.TagSignAgain, ""},
		"a long epoch":     {response(401, http.Header{signer.HeaderRefusal: {"sign_again"}, signer.HeaderEpoch: {epoch + "A"}}), signer.TagSignAgain, ""},
		"another tag":      {response(401, http.Header{signer.HeaderRefusal: {"expired"}, signer.HeaderEpoch: {epoch}}), signer.TagExpired, ""},
		"a success":        {response(200, http.Header{signer.HeaderRefusal: {"sign_again"}}), "", ""},
		"two tags":         {response(401, http.Header{signer.HeaderRefusal: {"expired", "sign_again"}}), "", ""},
		"no word":          {response(401, http.Header{signer.HeaderRefusal: {"<script>"}}), "", ""},
		"nothing":          {response(401, http.Header{}), "", ""},
		"a very long word": {response(401, http.Header{signer.HeaderRefusal: {strings.Repeat("a", 65)}}), "", ""},
	} {
		if got := signer.RefusalOf(c.resp); got != c.tag {
			t.Errorf("%s: tag %q", name, got)
		}
		if got := signer.EpochOf(c.resp); got != c.epoch {
			t.Errorf("%s: epoch %q", name, got)
		}
	}
}
