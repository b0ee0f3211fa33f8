package stepca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/ca"

	"github.com/alphaonedev/federation/internal/stepcatest"
)

// BenchmarkEnrol is one enrolment from nothing but URL, fingerprint, provisioner and password, by this package and by a bare
// use of the client of github.com/smallstep/certificates/ca. With STEP set to the path of the step command, by that too.
func BenchmarkEnrol(b *testing.B) {
	srv := benchCA(b)
	b.Run("stepca", func(b *testing.B) {
		for b.Loop() {
			c := New(Config{URL: srv.URL, Fingerprint: srv.Fingerprint()})
			if _, err := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()}).Identity(b.Context()); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			bareEnrol(b, srv)
		}
	})
	b.Run("step", func(b *testing.B) {
		step, dir, root := stepCommand(b, srv)
		password := filepath.Join(dir, "password")
		must(b, os.WriteFile(password, []byte(stepcatest.Password), 0o600))
		for b.Loop() {
			run(b, step, "ca", "certificate", "a.example", filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), "--force",
				"--ca-url", srv.URL, "--root", root, "--provisioner", stepcatest.Nodes, "--provisioner-password-file", password)
		}
	})
}

// BenchmarkRenew is one renewal over mutual TLS.
func BenchmarkRenew(b *testing.B) {
	srv := benchCA(b)
	b.Run("stepca", func(b *testing.B) {
		c := New(Config{URL: srv.URL, Fingerprint: srv.Fingerprint()})
		defer c.Close()
		i := c.Identity(IdentityConfig{Names: []string{"a.example"}, Enrolment: nodes()})
		mustIdentityB(b, i)
		for b.Loop() {
			i.makeDue()
			mustIdentityB(b, i)
		}
	})
	b.Run("bare", func(b *testing.B) {
		cert, roots := bareEnrol(b, srv)
		cl, err := ca.NewClient(srv.URL, ca.WithCertificate(tls.Certificate{}), ca.WithRootSHA256(srv.Fingerprint()))
		must(b, err)
		for b.Loop() {
			t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*cert}}, DisableKeepAlives: true}
			answer, err := cl.RenewWithContext(b.Context(), t)
			must(b, err)
			cert = bareCert(answer, cert.PrivateKey)
		}
	})
	b.Run("step", func(b *testing.B) {
		step, dir, root := stepCommand(b, srv)
		cert, _ := bareEnrol(b, srv)
		h := &held{key: cert.PrivateKey.(*ecdsa.PrivateKey)}
		for _, der := range cert.Certificate {
			c, err := x509.ParseCertificate(der)
			must(b, err)
			h.chain = append(h.chain, c)
		}
		s, err := h.encode(true)
		must(b, err)
		crt, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
		must(b, os.WriteFile(crt, []byte(s.Chain), 0o600))
		must(b, os.WriteFile(key, []byte(s.Key), 0o600))
		for b.Loop() {
			run(b, step, "ca", "renew", crt, key, "--force", "--ca-url", srv.URL, "--root", root)
		}
	})
}

func benchCA(b *testing.B) *stepcatest.CA {
	b.Helper()
	srv, err := stepcatest.Start(stepcatest.Options{Intermediates: 1})
	must(b, err)
	b.Cleanup(func() { srv.Close() })
	return srv
}

func mustIdentityB(b *testing.B, i *Identity) {
	b.Helper()
	if _, err := i.Identity(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// bareEnrol enrols as one would with the module's client alone.
func bareEnrol(b *testing.B, srv *stepcatest.CA) (*tls.Certificate, *x509.CertPool) {
	b.Helper()
	p, err := ca.NewProvisioner(stepcatest.Nodes, "", srv.URL, []byte(stepcatest.Password),
		ca.WithCertificate(tls.Certificate{}), ca.WithRootSHA256(srv.Fingerprint()))
	must(b, err)
	ott, err := p.Token("a.example")
	must(b, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"},
	}, key)
	must(b, err)
	csr, err := x509.ParseCertificateRequest(der)
	must(b, err)
	answer, err := p.SignWithContext(b.Context(), &api.SignRequest{CsrPEM: api.NewCertificateRequest(csr), OTT: ott})
	must(b, err)
	roots := p.GetRootCAs()
	p.CloseIdleConnections()
	return bareCert(answer, key), roots
}

func bareCert(answer *api.SignResponse, key any) *tls.Certificate {
	cert := &tls.Certificate{PrivateKey: key}
	for _, c := range answer.CertChainPEM {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// stepCommand is the step command and a folder of its own, with the CA's root in a file.
func stepCommand(b *testing.B, srv *stepcatest.CA) (step, dir, root string) {
	b.Helper()
	step = os.Getenv("STEP")
	if step == "" {
		b.Skip("STEP names no step command")
	}
	dir = b.TempDir()
	root = filepath.Join(dir, "root.crt")
	must(b, os.WriteFile(root, srv.Roots[0].PEM(), 0o600))
	return step, dir, root
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"HOME=" + filepath.Dir(args[2])}
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out)
	}
}
