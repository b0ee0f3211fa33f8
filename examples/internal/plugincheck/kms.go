package plugincheck

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A KMS keeps two keys, signs with them for whoever asks, and hands out what an authority has issued for one of them:
//
//	GET  /root             the root, DER
//	POST /chain            the leaf, DER; the body is a signing request of the key, or empty
//	GET  /public/NAME      the public key of "tls" or "message", DER
//	POST /sign/NAME?algorithm=…&hash=…&salt=…   the signature over the body
type KMS struct {
	URL string
	ca  *sdktest.CA
	tls *sdktest.Issued
	key map[string]crypto.Signer

	answer atomic.Int32                  // a status in place of signatures; 0: none
	other  atomic.Pointer[crypto.Signer] // signs in place of all keys
	asked  atomic.Int64                  // signatures
	csrs   atomic.Int64                  // signing requests that were in order
}

// StartKMS starts one whose TLS key is key, until the test ends.
func StartKMS(t TB, key crypto.Signer) *KMS {
	k := &KMS{ca: sdktest.NewCA(t)}
	k.tls = k.ca.Issue(t, sdktest.Leaf{DNS: []string{"a.example"}, Signer: key})
	k.key = map[string]crypto.Signer{"tls": key, "message": sdktest.Ed25519(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /root", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(k.ca.Certificate.Raw) })
	mux.HandleFunc("POST /chain", k.chain)
	mux.HandleFunc("GET /public/{name}", func(w http.ResponseWriter, r *http.Request) {
		der, err := x509.MarshalPKIXPublicKey(k.key[r.PathValue("name")].Public())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(der)
	})
	mux.HandleFunc("POST /sign/{name}", k.sign)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	k.URL = server.URL
	return k
}

func (k *KMS) chain(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		var csr *x509.CertificateRequest
		if csr, err = x509.ParseCertificateRequest(body); err == nil {
			err = csr.CheckSignature()
		}
		if err == nil && !bytes.Equal(csr.RawSubjectPublicKeyInfo, k.tls.Leaf.RawSubjectPublicKeyInfo) {
			err = errors.New("the request is for another key")
		}
		k.csrs.Add(1)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(k.tls.Leaf.Raw)
}

// sign takes the names of algorithms at their word, so that a signature verifies only if they were right.
func (k *KMS) sign(w http.ResponseWriter, r *http.Request) {
	k.asked.Add(1)
	if status := k.answer.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	key := k.key[r.PathValue("name")]
	if other := k.other.Load(); other != nil {
		key = *other
	}
	input, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	hash, known := map[string]crypto.Hash{
		"": 0, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
	}[r.FormValue("hash")]
	salt, err := strconv.Atoi(r.FormValue("salt"))
	algorithm := r.FormValue("algorithm")
	var opts crypto.SignerOpts = hash
	if algorithm == "rsa-pss" {
		opts = &rsa.PSSOptions{Hash: hash, SaltLength: salt}
	}
	fits := map[string]string{"ed25519": "ed25519.", "ecdsa": "ecdsa.", "rsa-pkcs1v15": "rsa.", "rsa-pss": "rsa."}[algorithm]
	if !known || err != nil || fits == "" || !strings.Contains(fmt.Sprintf("%T", key), fits) || (salt != 0) != (algorithm == "rsa-pss") {
		http.Error(w, "not with this key: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	signature, err := key.Sign(rand.Reader, input, opts)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(signature)
}

// SignsElsewhere is about the plugin in testdata/remote, whose keys are in a KMS: it conforms (by the rules that are
// named; "" is all), declares these schemes, and none but the KMS signs. declare is the setting of that name.
func (e Example) SignsElsewhere(t TB, k *KMS, rules, declare string, schemes []tls.SignatureScheme) {
	t.Helper()
	p, ctx := e.Open(t, map[string]string{"url": k.URL, "schemes": declare}, nil)
	id, err := Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Certificate.SupportedSignatureAlgorithms; !slices.Equal(got, schemes) {
		t.Errorf("declared are %v, want %v", got, schemes)
	}
	_ = p.Close()
	before := k.asked.Load()
	args := []string{"-only", rules, "-set", "url=" + k.URL, "-set", "schemes=" + declare}
	for _, variable := range e.Env {
		args = append(args, "-env", variable)
	}
	Check(t, append(append(args, "--", e.Path), e.Args...)...)
	if k.asked.Load() == before {
		t.Errorf("the KMS has signed nothing")
	}
}

// Requests is how many signing requests have come that the key itself has signed.
func (k *KMS) Requests() int { return int(k.csrs.Load()) }

// TellsWhySigningFails is about the same plugin: what its sign functions raise, and what they should not have returned,
// is what the node learns.
func (e Example) TellsWhySigningFails(t TB) {
	t.Helper()
	k := StartKMS(t, sdktest.NewKey(t, sdktest.ECDSAP256))
	p, ctx := e.Open(t, map[string]string{"url": k.URL}, nil)
	id, err := Identity(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := p.Key()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := provider.SigningKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	digest := crypto.SHA256.New().Sum(nil)
	expect := func(when string, want error) {
		t.Helper()
		if _, err := id.Certificate.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, want) {
			t.Errorf("%s, a handshake: %v, want %v", when, err, want)
		}
		if _, err := keys.Active.Sign(ctx, []byte("message")); !errors.Is(err, want) {
			t.Errorf("%s, a message: %v, want %v", when, err, want)
		}
	}
	expect("all is well", nil)
	k.answer.Store(http.StatusForbidden)
	expect("the KMS refuses", sdk.ErrPermission)
	k.answer.Store(http.StatusTeapot)
	expect("the function raises what is none of the errors", sdk.ErrUnavailable)
	k.answer.Store(http.StatusNoContent)
	expect("the function returns nothing", sdk.ErrMaterial)
	k.answer.Store(0)
	p256, ed := sdktest.NewKey(t, sdktest.ECDSAP256), crypto.Signer(sdktest.Ed25519(t))
	k.other.Store(&p256)
	if _, err := id.Certificate.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, sdk.ErrMaterial) {
		t.Errorf("another key signs the handshake: %v, want ErrMaterial", err)
	}
	k.other.Store(&ed)
	if _, err := keys.Active.Sign(ctx, []byte("message")); !errors.Is(err, sdk.ErrMaterial) {
		t.Errorf("another key signs the message: %v, want ErrMaterial", err)
	}
	k.other.Store(nil)
	expect("all is well again", nil)
}
