package signer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/alphaonedev/federation/internal/fault"
)

// Sign signs a request that is ready to be sent, for one attempt: method, URL, Host, Content-Type and body
// must not change afterwards, and a repeat is signed again. It replaces the signature's header fields. A
// body without a Content-Type gets application/octet-stream. A request that cannot be signed
// unambiguously (Content-Encoding, a URL with a bare "?" or a fragment, a host that is not ASCII, CONNECT)
// matches ErrConfig. The request's context bounds the reading of a body without GetBody, and a key that lives
// elsewhere, whose signatures are checked before use: one that does not hold matches ErrMaterial. On an error the
// request must not be sent.
func (s *Signer) Sign(req *http.Request, to Audience) error {
	if req == nil || req.URL == nil {
		return fmt.Errorf("signer: sign: no request: %w", fault.ErrConfig)
	}
	if req.Header == nil {
		req.Header = make(http.Header, 8)
	}
	if err := checkHeader(req.Header); err != nil {
		return err
	}
	nonce, err := newNonce(to.Epoch)
	if err != nil {
		return err
	}
	if to.Operation != "" && (!visible(to.Operation, maxOperation) || to.Operation == noOperation) {
		return fmt.Errorf("signer: Operation is %.140q, want 1 to %d visible ASCII characters other than %q: %w", to.Operation, maxOperation, noOperation, fault.ErrConfig)
	}
	switch to.Wire {
	case WireFederation:
		return s.signFederation(req, &to, nonce)
	case WireAIMemory:
		return s.signMemory(req, &to, nonce)
	}
	return fmt.Errorf("signer: unknown %v: %w", to.Wire, fault.ErrConfig)
}

func (s *Signer) signFederation(req *http.Request, to *Audience, nonce Nonce) error {
	m := message{to: to.To, op: to.Operation}
	if m.op == "" {
		m.op = noOperation
	}
	if !visible(m.to, maxTo) {
		return fmt.Errorf("signer: To is %.80q, want the recipient in 1 to %d visible ASCII characters: %w", m.to, maxTo, fault.ErrConfig)
	}
	if err := canonicalRequest(req, &m); err != nil {
		return err
	}
	h := req.Header
	m.body = req.Body != nil && req.Body != http.NoBody || len(h["Content-Type"]) > 0
	if to.Content != nil {
		m.body = m.body || len(to.Content.data) > 0
		to.Content.Attach(req)
	}
	if m.body {
		var err error
		if m.contentType, err = contentType(h); err != nil {
			return err
		}
		if to.Content != nil {
			m.digest = to.Content.header
		} else {
			sum, err := s.digest(req)
			if err != nil {
				return err
			}
			m.digest = contentDigest(sum)
		}
	}
	now := s.config.Clock().Unix()
	in := signatureInput{
		body: m.body, nonce: nonce, keyID: s.keyID,
		created: now, expires: now + int64(s.config.Expiry.Seconds()),
	}
	var room [maxInput]byte
	input := string(appendInput(room[:0], &in))
	var sig [ed25519.SignatureSize]byte
	if err := s.sign(req.Context(), &m, input[len(sigLabel):], &sig); err != nil {
		return err
	}
	values := [...]string{m.digest, input, string(appendSignature(room[:0], sig[:])), m.to, m.op}
	fields := [len(values)]string{HeaderContentDigest, HeaderSignatureInput, HeaderSignature, HeaderTo, HeaderOperation}
	for i, name := range fields {
		h[name] = values[i : i+1 : i+1]
	}
	if !m.body {
		delete(h, HeaderContentDigest)
	}
	delete(h, HeaderMemorySig)
	delete(h, HeaderMemoryNonce)
	return nil
}

func (s *Signer) sign(ctx context.Context, m *message, params string, sig *[ed25519.SignatureSize]byte) error {
	if k, ok := s.config.Key.(*localKey); ok && ctx.Err() == nil {
		var room [baseRoom]byte
		copy(sig[:], ed25519.Sign(*k.private, m.appendBase(room[:0], params)))
		return nil
	}
	got, err := signChecked(ctx, s.config.Key, s.public, m.appendBase(nil, params))
	copy(sig[:], got)
	return err
}

// newNonce draws 128 bits, the first 64 of which are the recipient's epoch where it asked for that.
func newNonce(ep string) (n Nonce, err error) {
	_, _ = rand.Read(n[:]) // never fails
	if ep != "" {
		e, ok := parseEpoch(ep)
		if !ok {
			return n, fmt.Errorf("signer: Epoch is %.20q, want what EpochOf returned: %w", ep, fault.ErrConfig)
		}
		copy(n[:], e[:])
	}
	return n, nil
}

// canonicalRequest fills in what the request's line and host say.
func canonicalRequest(req *http.Request, m *message) error {
	var ok bool
	if m.method = req.Method; m.method == "" {
		m.method = http.MethodGet
	}
	if !validMethod(m.method) {
		return fmt.Errorf("signer: method %.40q cannot be signed: %w", m.method, fault.ErrConfig)
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if m.authority, ok = canonicalAuthority(host, req.URL.Scheme); !ok {
		return fmt.Errorf("signer: host %.270q cannot be signed, want ASCII (a name in its punycode form) and at most a port: %w", host, fault.ErrConfig)
	}
	if m.path, m.query, ok = splitTarget(req.URL.RequestURI()); !ok {
		return fmt.Errorf("signer: the target of %.200q cannot be signed, want an escaped path, and a query only with something in it, of at most %d bytes: %w", req.URL.Redacted(), maxTarget, fault.ErrConfig)
	}
	return nil
}

// contentType returns the media type as it goes on the wire, and sets one where there is none.
func contentType(h http.Header) (string, error) {
	v := h["Content-Type"]
	switch {
	case len(v) == 0:
		const unknown = "application/octet-stream"
		h["Content-Type"] = []string{unknown}
		return unknown, nil
	case len(v) > 1:
		return "", fmt.Errorf("signer: Content-Type is there %d times: %w", len(v), fault.ErrConfig)
	case !fieldText(v[0]) || len(v[0]) > maxContentType:
		return "", fmt.Errorf("signer: Content-Type is %.80q, want printable ASCII without space at either end, at most %d bytes: %w", v[0], maxContentType, fault.ErrConfig)
	}
	return v[0], nil
}

// checkHeader refuses what would be read in two ways.
func checkHeader(h http.Header) error {
	if _, ok := h["Content-Encoding"]; ok {
		return fmt.Errorf("signer: Content-Encoding is not covered by the signature; name the encoding in Content-Type instead: %w", fault.ErrConfig)
	}
	for name := range h {
		if len(name) >= len(coveredFields) || slices.Contains(coveredFields[len(name)], name) {
			continue
		}
		for _, ours := range coveredFields[len(name)] {
			if strings.EqualFold(ours, name) {
				return fmt.Errorf("signer: header key %q is not in its canonical form %q: %w", name, ours, fault.ErrConfig)
			}
		}
	}
	return nil
}

// coveredFields are those that either profile sends, and those that it must not, by the length of the name.
var coveredFields = [...][]string{
	9:  {HeaderSignature, HeaderPeerID},
	12: {"Content-Type", HeaderMemorySig},
	13: {HeaderTo, HeaderOperation},
	14: {HeaderContentDigest, HeaderMemoryNonce},
	15: {HeaderSignatureInput, HeaderIdempotencyKey},
	16: {"Content-Encoding"},
}
