package quorum

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// In JSON and in logs, a value of a closed set is its word, a hash is hexadecimal, and an error is its text. Acks and
// receipts come back from it as they were.

// MarshalText is String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	for kind := Unsent; kind <= Refused; kind++ {
		if kind.String() == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("quorum: kind %.20q: %w", text, ErrMalformed)
}

// MarshalText is String, and empty for the zero verdict of what is not acked.
func (v Verdict) MarshalText() ([]byte, error) {
	if v == 0 {
		return []byte{}, nil
	}
	return []byte(v.String()), nil
}

// UnmarshalText reads "applied", "noop" or nothing.
func (v *Verdict) UnmarshalText(text []byte) error {
	switch string(text) {
	case "":
		*v = 0
	case "applied":
		*v = Applied
	case "noop":
		*v = Noop
	default:
		return fmt.Errorf("quorum: verdict %.20q, want applied or noop: %w", text, ErrMalformed)
	}
	return nil
}

// MarshalText is String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error { return readHex(d[:], text) }

// MarshalText returns the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error { return readHex(h[:], text) }

func readHex(to, text []byte) error {
	if len(text) != hex.EncodedLen(len(to)) {
		return fmt.Errorf("quorum: a hash of %d characters, want %d hexadecimal digits: %w", len(text), hex.EncodedLen(len(to)), ErrMalformed)
	}
	if _, err := hex.Decode(to, text); err != nil {
		return fmt.Errorf("quorum: a hash that is not hexadecimal: %w", ErrMalformed)
	}
	return nil
}

// MarshalJSON writes the outcome with Err as text, "" for none. Elapsed is in nanoseconds.
func (o Outcome) MarshalJSON() ([]byte, error) {
	type plain Outcome
	return json.Marshal(struct {
		plain
		Err string
	}{plain(o), errText(o.Err)})
}

// MarshalJSON writes the error's fields, with Err as text, "" for none.
func (e *NotMetError) MarshalJSON() ([]byte, error) {
	type plain NotMetError
	return json.Marshal(struct {
		plain
		Err string
	}{plain(*e), errText(e.Err)})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
