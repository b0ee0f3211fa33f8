package vault

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alphaonedev/federation/internal/fault"
	"github.com/alphaonedev/federation/signer"
)

// keyOf makes the signing key of a version: in Vault, or here if it is exported.
func (k *Key) keyOf(ctx context.Context, v *version, exportable bool) (signer.Key, error) {
	if k.opts.Export && exportable {
		return k.export(ctx, v)
	}
	return &transitSigner{k: k, number: v.number, public: v.public, batch: newBatcher(k, v), turn: make(chan struct{}, 1)}, nil
}

// transitSigner signs with one version of a key in Vault.
type transitSigner struct {
	k      *Key
	number int
	public ed25519.PublicKey
	batch  *batcher

	turn     chan struct{} // capacity 1; held while Vault is asked whose version number is
	replaced time.Time     // when it last was another key's; guarded by turn
}

// Public returns the version's public key.
func (s *transitSigner) Public() crypto.PublicKey { return slices.Clone(s.public) }

// Sign returns Vault's signature, verified.
func (s *transitSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	sig, err := s.batch.sign(ctx, message)
	if err != nil {
		return nil, roleError(fault.RoleKey, "sign", err)
	}
	if !ed25519.Verify(s.public, message, sig) {
		return nil, roleError(fault.RoleKey, "sign", s.foreign(ctx))
	}
	return sig, nil
}

// replacedFor is how long one look at Vault explains signatures that do not verify: those of a batch, mostly.
const replacedFor = time.Second

// foreign says why a signature does not verify: the key is another one of the same name, made anew or restored and
// rotated again, or the answer is wrong.
func (s *transitSigner) foreign(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.replaced.IsZero() || time.Since(s.replaced) > replacedFor {
		found, err := s.k.describe(ctx)
		if err != nil {
			return err
		}
		if pub, err := found.public(s.number); err != nil || s.public.Equal(pub) {
			return s.k.signError(fmt.Sprintf("the signature does not verify with the public key of version %d", s.number), fault.ErrMaterial)
		}
		s.replaced = time.Now()
		s.k.refusedVersion()
	}
	return s.k.signError(fmt.Sprintf("version %d is another key by now: the key was deleted and made anew, or restored", s.number), fault.ErrExpired)
}

func (k *Key) signError(msg string, kind error) *callError {
	return &callError{op: "sign at " + join(k.opts.Mount, "sign", k.opts.Name), msg: msg, kind: kind}
}

// An outcome is the signature of one message, or why there is none.
type outcome struct {
	sig []byte
	err error
}

// signAll asks Vault for signatures with one version, in one request.
func (k *Key) signAll(ctx context.Context, number int, messages [][]byte) ([]outcome, error) {
	body := map[string]any{"key_version": number}
	type item struct {
		Input string `json:"input"`
	}
	if len(messages) == 1 {
		body["input"] = base64.StdEncoding.EncodeToString(messages[0])
	} else {
		items := make([]item, len(messages))
		for i, m := range messages {
			items[i].Input = base64.StdEncoding.EncodeToString(m)
		}
		body["batch_input"] = items
	}
	var got struct {
		Signature string `json:"signature"`
		Results   []struct {
			Signature string `json:"signature"`
			Error     string `json:"error"`
		} `json:"batch_results"`
	}
	err := k.client.data(ctx, call{
		what: "sign", namespace: k.client.namespaceOf(k.opts.Namespace),
		path: join(k.opts.Mount, "sign", k.opts.Name), body: body,
	}, &got)
	if ce, ok := errors.AsType[*callError](err); ok && (ce.status == http.StatusBadRequest || ce.status == http.StatusInternalServerError) {
		return nil, k.refusal(number, ce) // some refusals come as 500
	}
	if err != nil {
		return nil, explainMount(err, k.opts.Mount)
	}
	if len(messages) == 1 {
		return []outcome{k.parse(number, got.Signature)}, nil
	}
	if len(got.Results) != len(messages) {
		return nil, k.signError(fmt.Sprintf("%d signatures came back for %d messages", len(got.Results), len(messages)), fault.ErrMaterial)
	}
	out := make([]outcome, len(messages))
	for i, r := range got.Results {
		if r.Error != "" {
			out[i].err = k.refusal(number, k.signError(scrub(r.Error, nil), fault.ErrConfig))
		} else {
			out[i] = k.parse(number, r.Signature)
		}
	}
	return out, nil
}

// refusal recognises that the version is gone, or the key. Other errors are returned as they are.
func (k *Key) refusal(number int, e *callError) error {
	switch {
	case strings.Contains(e.msg, "minimum encryption key version"), strings.Contains(e.msg, "no such key version"),
		strings.Contains(e.msg, "higher than the latest"):
		k.refusedVersion()
		return k.signError(fmt.Sprintf("version %d may no longer sign (%s)", number, e.msg), fault.ErrExpired)
	case strings.Contains(e.msg, "signing key not found"):
		k.refusedVersion()
		return k.signError("the key is gone", fault.ErrNotFound)
	default:
		return e
	}
}

// parse reads "vault:vN:" and a signature in base64.
func (k *Key) parse(number int, s string) outcome {
	parts := strings.Split(s, ":")
	if len(parts) != 3 || parts[0] != "vault" || parts[1] != "v"+strconv.Itoa(number) {
		return outcome{err: k.signError(fmt.Sprintf("the answer is no signature by version %d", number), fault.ErrMaterial)}
	}
	sig, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != ed25519.SignatureSize {
		return outcome{err: k.signError("the signature is not 64 bytes in base64", fault.ErrMaterial)}
	}
	return outcome{sig: sig}
}

// export fetches one version's private key.
func (k *Key) export(ctx context.Context, v *version) (signer.Key, error) {
	var got struct {
		Keys map[string]string `json:"keys"`
	}
	n := strconv.Itoa(v.number)
	where := join(k.opts.Mount, "export", "signing-key", k.opts.Name, n)
	err := k.client.data(ctx, call{what: "export the key", namespace: k.client.namespaceOf(k.opts.Namespace), path: where}, &got)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(got.Keys[n])
	if err != nil || len(raw) != ed25519.PrivateKeySize {
		return nil, &callError{op: "export the key at " + where, msg: "the answer is no Ed25519 key", kind: fault.ErrMaterial}
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !v.public.Equal(key.Public()) {
		return nil, &callError{op: "export the key at " + where, msg: "the private key is not that of the public key", kind: fault.ErrMaterial}
	}
	return signer.KeyOf(key)
}
