package file

import (
	"bytes"
	"context"
	"errors"

	"github.com/alphaonedev/federation/sdk"
)

// A Passphrase returns what unlocks an encrypted file. It is called when such a file is read for the first time
// or has changed, never while another call of the same provider runs, and must honour ctx. The slice is read before
// the pull ends and not kept. An error that it returns is wrapped: it must not hold the passphrase.
type Passphrase = func(ctx context.Context) ([]byte, error)

// PassphraseFile reads the passphrase from a file, without the line break at its end, whenever it is asked for.
func PassphraseFile(path string) Passphrase {
	return func(ctx context.Context) ([]byte, error) {
		if path == "" {
			return nil, noPath("PassphraseFile")
		}
		blobs, _, err := read(ctx, []input{{kind: "passphrase file", path: path, limit: maxKeyFile}}, -1)
		if err != nil {
			return nil, err
		}
		pass := bytes.TrimSuffix(blobs[0].data, []byte("\n"))
		pass = bytes.TrimSuffix(pass, []byte("\r"))
		if len(pass) == 0 {
			return nil, bad(sdk.ErrMaterial, "passphrase file", path, "is empty; write the passphrase into it")
		}
		return pass, nil
	}
}

var (
	errLocked     = errors.New("is encrypted and no passphrase is given; set Passphrase")
	errWrongPass  = errors.New("is not opened by this passphrase, or is damaged; correct what Passphrase returns")
	errLegacyPEM  = errors.New("is encrypted in the old way of PEM (Proc-Type: 4,ENCRYPTED), which protects little; convert it with openssl pkcs8 -topk8 -v2 aes256")
	errTooMuch    = errors.New("asks for more work to derive its key than is done here; encrypt it again with usual parameters")
	errEncryption = errors.New("is encrypted with a method that is not known here; convert it with openssl pkcs8 -topk8 -v2 aes256")
)

// An unlocker asks for the passphrase at most once.
type unlocker struct {
	ctx  context.Context
	ask  Passphrase
	pass []byte
	done bool
	err  error
}

// get returns the passphrase. Errors other than errLocked come from the callback.
func (u *unlocker) get() ([]byte, error) {
	if u.ask == nil {
		return nil, errLocked
	}
	if !u.done {
		u.pass, u.err = u.ask(u.ctx)
		u.done = true
	}
	if u.err != nil {
		return nil, &passphraseError{u.err}
	}
	if len(u.pass) == 0 {
		return nil, errLocked
	}
	return u.pass, nil
}

// A passphraseError comes from the callback: its meaning is the callback's, not that of a bad file.
type passphraseError struct{ err error }

func (e *passphraseError) Error() string { return "passphrase: " + e.err.Error() }
func (e *passphraseError) Unwrap() error { return e.err }
