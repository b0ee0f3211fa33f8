package plugin_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A liar is a plugin that speaks the protocol by itself, and badly, as its mode says.
type liar struct {
	mode string
	key  *ecdsa.PrivateKey
	ed   ed25519.PrivateKey
	root []byte
	cert []byte
}

type (
	liarLifecycle struct {
		pluginpb.UnimplementedLifecycleServer
		*liar
	}
	liarTrust struct {
		pluginpb.UnimplementedTrustServer
		*liar
	}
	liarIdentity struct {
		pluginpb.UnimplementedIdentityServer
		*liar
	}
	liarKey struct {
		pluginpb.UnimplementedKeyServer
		*liar
	}
)

type liarPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	l *liar
}

func (p liarPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pluginpb.RegisterLifecycleServer(s, liarLifecycle{liar: p.l})
	pluginpb.RegisterTrustServer(s, liarTrust{liar: p.l})
	pluginpb.RegisterIdentityServer(s, liarIdentity{liar: p.l})
	pluginpb.RegisterKeyServer(s, liarKey{liar: p.l})
	return nil
}

func (p liarPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not here")
}

func lie(mode string) {
	l := &liar{mode: mode}
	l.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, l.ed, _ = ed25519.GenerateKey(rand.Reader)
	use := x509.ExtKeyUsageClientAuth
	if mode == "wrong-eku" {
		use = x509.ExtKeyUsageCodeSigning
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "liar"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	l.root, _ = x509.CreateCertificate(rand.Reader, template, template, l.key.Public(), l.key)
	template.ExtKeyUsage = []x509.ExtKeyUsage{use}
	template.IsCA, template.KeyUsage = false, x509.KeyUsageDigitalSignature
	if mode == "wrong-usage" {
		template.KeyUsage = x509.KeyUsageKeyAgreement
	}
	if mode == "expired" {
		template.NotAfter = time.Now().Add(-time.Minute)
	}
	l.cert, _ = x509.CreateCertificate(rand.Reader, template, template, l.key.Public(), l.key)
	if mode == "deaf" { // to every request to stop
		signal.Ignore(syscall.SIGTERM)
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: "FEDERATION_PLUGIN", MagicCookieValue: "federation.plugin.v1"},
		VersionedPlugins: map[int]goplugin.PluginSet{1: {"x": liarPlugin{l: l}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(1<<30))...)
		},
		Logger: hclog.NewNullLogger(),
	})
	if mode == "deaf" {
		time.Sleep(time.Hour)
	}
	os.Exit(0)
}

var allRoles = []pluginpb.Role{pluginpb.Role_ROLE_TRUST, pluginpb.Role_ROLE_IDENTITY, pluginpb.Role_ROLE_KEY}

func (l liarLifecycle) Info(context.Context, *pluginpb.InfoRequest) (*pluginpb.InfoResponse, error) {
	switch l.mode {
	case "hangs-in-info":
		time.Sleep(time.Hour) // not until the deadline, at which an answer may still be in time
	case "no-name":
		return &pluginpb.InfoResponse{Roles: allRoles}, nil
	case "bad-name":
		return &pluginpb.InfoResponse{Name: "\x1b[31mevil\n", Roles: allRoles}, nil
	case "no-roles":
		return &pluginpb.InfoResponse{Name: "liar"}, nil
	case "unknown-roles":
		return &pluginpb.InfoResponse{Name: "liar", Roles: []pluginpb.Role{99}}, nil
	case "more-roles":
		return &pluginpb.InfoResponse{Name: "liar", Roles: allRoles[:1]}, nil
	}
	return &pluginpb.InfoResponse{Name: "liar", Version: "1", Roles: allRoles}, nil
}

func (l liarLifecycle) Configure(context.Context, *pluginpb.ConfigureRequest) (*pluginpb.ConfigureResponse, error) {
	switch l.mode {
	case "hangs-in-configure":
		time.Sleep(time.Hour)
	case "rejects":
		return nil, status.Error(codes.InvalidArgument, "url: no such\x00 scheme")
	case "no-roles-configured":
		return &pluginpb.ConfigureResponse{}, nil
	}
	return &pluginpb.ConfigureResponse{Roles: allRoles}, nil
}

func (l liarTrust) TrustBundle(context.Context, *pluginpb.TrustBundleRequest) (*pluginpb.TrustBundleResponse, error) {
	switch l.mode {
	case "empty-bundle":
		return &pluginpb.TrustBundleResponse{}, nil
	case "huge-bundle":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{make([]byte, 50<<20)}}, nil
	case "huge-certificate":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{make([]byte, 1<<20)}}, nil
	case "many-roots":
		return &pluginpb.TrustBundleResponse{Roots: make([][]byte, 20000)}, nil
	case "not-der":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{[]byte("-----BEGIN CERTIFICATE-----")}}, nil
	case "bad-crl":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{l.root}, Crls: [][]byte{{1, 2, 3}}}, nil
	case "late":
		time.Sleep(3 * time.Second)
	case "long-refresh":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{l.root}, RefreshAfterMs: 1<<63 - 1}, nil
	case "negative-refresh":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{l.root}, RefreshAfterMs: -5}, nil
	case "partial":
		return &pluginpb.TrustBundleResponse{Roots: [][]byte{l.root}, Partial: "one mount is\nsealed, says hunter2-hunter2" + strings.Repeat("x", 2000)}, nil
	case "silent":
		time.Sleep(time.Hour)
	}
	return &pluginpb.TrustBundleResponse{Roots: [][]byte{l.root}}, nil
}

func (l liarIdentity) Identity(context.Context, *pluginpb.IdentityRequest) (*pluginpb.IdentityResponse, error) {
	r := &pluginpb.IdentityResponse{
		Chain: [][]byte{l.cert}, Fingerprint: spki(l.key.Public()), SignatureSchemes: []uint32{0x0403},
	}
	switch l.mode {
	case "wrong-fingerprint":
		r.Fingerprint = spki(l.ed.Public())
	case "no-chain":
		r.Chain = nil
	case "long-chain":
		for range 20 {
			r.Chain = append(r.Chain, l.cert)
		}
	case "unrelated-chain":
		other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "liar"}, NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true,
		}
		der, _ := x509.CreateCertificate(rand.Reader, template, template, other.Public(), other)
		r.Chain = append(r.Chain, der)
	case "no-schemes":
		r.SignatureSchemes = nil
	case "wrong-schemes":
		r.SignatureSchemes = []uint32{0x0807, 0xffffffff}
	}
	return r, nil
}

func (l liarIdentity) Sign(_ context.Context, r *pluginpb.IdentitySignRequest) (*pluginpb.SignResponse, error) {
	switch l.mode {
	case "wrong-key":
		other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		sig, _ := other.Sign(rand.Reader, r.Input, crypto.SHA256)
		return &pluginpb.SignResponse{Signature: sig}, nil
	case "long-signature":
		return &pluginpb.SignResponse{Signature: make([]byte, 1<<20)}, nil
	case "no-signature":
		return &pluginpb.SignResponse{}, nil
	}
	sig, err := l.key.Sign(rand.Reader, r.Input, crypto.SHA256)
	return &pluginpb.SignResponse{Signature: sig}, err
}

func (l liarKey) SigningKeys(context.Context, *pluginpb.SigningKeysRequest) (*pluginpb.SigningKeysResponse, error) {
	r := &pluginpb.SigningKeysResponse{Active: l.ed.Public().(ed25519.PublicKey)}
	switch l.mode {
	case "short-key":
		r.Active = r.Active[:31]
	case "short-published":
		r.Published = [][]byte{{1}}
	}
	return r, nil
}

func (l liarKey) Sign(_ context.Context, r *pluginpb.KeySignRequest) (*pluginpb.SignResponse, error) {
	if l.mode == "wrong-key" {
		return &pluginpb.SignResponse{Signature: make([]byte, 64)}, nil
	}
	return &pluginpb.SignResponse{Signature: ed25519.Sign(l.ed, r.Message)}, nil
}

func spki(pub crypto.PublicKey) []byte {
	der, _ := x509.MarshalPKIXPublicKey(pub)
	sum := sha256.Sum256(der)
	return sum[:]
}
