package plugin_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// identityOf opens a plugin that has a key of a kind.
func identityOf(t testing.TB, kind sdktest.KeyKind) (*plugin.Plugin, *sdk.Identity) {
	t.Helper()
	id := sdktest.NewCA(t).Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Key: kind})
	c := config(t, "good")
	c.Secrets = map[string]plugin.Secret{"identity": plugin.Secret(append(id.CertPEM(), id.KeyPEM()...))}
	p := open(t, c)
	return p, must(must(p.Identity()).Identity(within(t)))
}

func TestEverySignatureAlgorithmWorksInARealHandshake(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    sdktest.KeyKind
		version uint16
		schemes []tls.SignatureScheme
	}{
		{"Ed25519", sdktest.Ed25519Key, tls.VersionTLS13, []tls.SignatureScheme{tls.Ed25519}},
		{"P-256", sdktest.ECDSAP256, tls.VersionTLS13, []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}},
		{"P-384", sdktest.ECDSAP384, tls.VersionTLS13, []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}},
		{"RSA-PSS", sdktest.RSA2048, tls.VersionTLS13, []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}},
		{"RSA PKCS #1 v1.5", sdktest.RSA2048, tls.VersionTLS12, []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, id := identityOf(t, tt.kind)
			for _, scheme := range tt.schemes {
				cert := *id.Certificate
				cert.SupportedSignatureAlgorithms = []tls.SignatureScheme{scheme}
				if err := handshake(within(t), &cert, tt.version); err != nil {
					t.Errorf("%v: %v", scheme, err)
				}
			}
		})
	}
}

// mutual makes a TLS 1.3 connection in memory with client certificates.
func mutual(ctx context.Context, server, client *tls.Certificate) error {
	return connect(ctx, server, client, tls.VersionTLS13)
}

// handshake makes a connection in memory in which both sides show cert.
func handshake(ctx context.Context, cert *tls.Certificate, version uint16) error {
	return connect(ctx, cert, cert, version)
}

func connect(ctx context.Context, serverCert, clientCert *tls.Certificate, version uint16) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	config := &tls.Config{
		MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{*serverCert}, InsecureSkipVerify: true,
		ClientAuth:           tls.RequireAnyClientCert,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return clientCert, nil },
	}
	served := make(chan error, 1)
	go func() {
		s := tls.Server(a, config)
		err := s.HandshakeContext(ctx)
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		if err != nil {
			a.Close()
		}
		served <- err
	}()
	client := tls.Client(b, config)
	_, err := client.Read(make([]byte, 1))
	if err != nil {
		b.Close()
	}
	return errors.Join(err, <-served)
}

func TestPSSSaltsAreExplicitOnTheWire(t *testing.T) {
	_, id := identityOf(t, sdktest.RSA2048)
	key := id.Certificate.PrivateKey.(crypto.Signer)
	digest := sha256.Sum256([]byte("x"))
	for name, salt := range map[string]struct {
		given, made int
	}{
		"equals hash": {rsa.PSSSaltLengthEqualsHash, 32},
		"auto":        {rsa.PSSSaltLengthAuto, 256 - 2 - 32},
		"explicit":    {20, 20},
	} {
		sig, err := key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: salt.given, Hash: crypto.SHA256})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := rsa.VerifyPSS(key.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig,
			&rsa.PSSOptions{SaltLength: salt.made, Hash: crypto.SHA256}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAKeyCannotSignIsRefusedBeforeItIsSent(t *testing.T) {
	p, id := identityOf(t, sdktest.RSA2048)
	key := id.Certificate.PrivateKey.(crypto.Signer)
	calls := p.Status().Calls
	digest := sha256.Sum256([]byte("x"))
	for name, sign := range map[string]func() ([]byte, error){
		"no hash":        func() ([]byte, error) { return key.Sign(rand.Reader, digest[:], crypto.Hash(0)) },
		"SHA-1":          func() ([]byte, error) { return key.Sign(rand.Reader, digest[:20], crypto.SHA1) },
		"another length": func() ([]byte, error) { return key.Sign(rand.Reader, digest[:], crypto.SHA512) },
		"a salt that is long": func() ([]byte, error) {
			return key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: 999, Hash: crypto.SHA256})
		},
	} {
		if _, err := sign(); !errors.Is(err, fault.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
	}
	if p.Status().Calls != calls {
		t.Error("something was sent")
	}
}

func TestAKeyThatIsGoneIsAnErrorAndNeverAnothersSignature(t *testing.T) {
	c, m, _ := movableConfig(t)
	nothingLeft(t, &c)
	p := open(t, c)
	ctx := within(t)
	old := must(must(p.Key()).SigningKeys(ctx))
	m.rotateKey(t)
	restart(t, p) // the new process has never heard of the old key
	pulled := make(chan struct{}, 100)
	watch, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- must(p.Key()).(sdk.Watcher).Watch(watch, func() { pulled <- struct{}{} })
	}()
	<-pulled
	for len(pulled) > 0 {
		<-pulled
	}
	if _, err := old.Active.Sign(ctx, []byte("x")); !errors.Is(err, fault.ErrExpired) {
		t.Errorf("sign: %v, want ErrExpired", err)
	}
	<-pulled // whoever watches is told to pull again
	cancel()
	<-ended
	now := must(must(p.Key()).SigningKeys(ctx))
	if _, err := now.Active.Sign(ctx, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestAHundredSignaturesAtOnce(t *testing.T) {
	c, _ := material(t, config(t, "good"))
	p := open(t, c)
	ctx := within(t)
	set := must(must(p.Key()).SigningKeys(ctx))
	id := must(must(p.Identity()).Identity(ctx))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var err error
			if digest := sha256.Sum256([]byte{byte(i)}); i%2 == 0 {
				_, err = id.Certificate.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
			} else {
				_, err = set.Active.Sign(ctx, digest[:])
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
