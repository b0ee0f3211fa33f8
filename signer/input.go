package signer

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// maxSignatureField is longer than any Signature or Signature-Input of ours.
const maxSignatureField = 512

const (
	nonceLen     = 22                     // 16 bytes in base64url without padding
	signatureLen = len("sig=:") + 88 + 1  // 64 bytes in base64 with padding
	strictDigits = len("999999999999999") // sf-integer, RFC 9651 section 3.3.1
	maxInput     = 320                    // enough for either profile
)

// signatureInput is what Signature-Input says.
type signatureInput struct {
	body             bool // covers a body
	created, expires int64
	nonce            Nonce
	keyID            string
	params           string // the value of @signature-params
}

// appendInput writes the value of Signature-Input.
func appendInput(b []byte, in *signatureInput) []byte {
	b = append(b, sigLabel...)
	if in.body {
		b = append(b, componentsBody...)
	} else {
		b = append(b, componentsNoBody...)
	}
	b = append(b, ";created="...)
	b = strconv.AppendInt(b, in.created, 10)
	b = append(b, ";expires="...)
	b = strconv.AppendInt(b, in.expires, 10)
	b = append(b, `;nonce="`...)
	b = base64.RawURLEncoding.AppendEncode(b, in.nonce[:])
	b = append(b, `";keyid="`...)
	b = append(b, in.keyID...)
	return append(b, `";alg="ed25519";tag="`+profileTag+`"`...)
}

// parseInput takes the exact form that appendInput writes, and says what is wrong with any other.
func parseInput(s string) (in signatureInput, tag Tag) {
	rest, ok := strings.CutPrefix(s, sigLabel)
	if !ok {
		return in, TagSignatureMalformed
	}
	in.params = rest
	end := strings.IndexByte(rest, ')')
	if end < 0 || rest[0] != '(' {
		return in, TagSignatureMalformed
	}
	switch rest[:end+1] {
	case componentsBody:
		in.body = true
	case componentsNoBody:
	default:
		return in, TagComponents
	}
	rest = rest[end+1:]
	if in.created, rest, ok = cutInteger(rest, ";created="); !ok {
		return in, TagSignatureMalformed
	}
	if in.expires, rest, ok = cutInteger(rest, ";expires="); !ok {
		return in, TagSignatureMalformed
	}
	var nonce, alg, profile string
	if nonce, rest, ok = cutString(rest, `;nonce="`); !ok {
		return in, TagSignatureMalformed
	}
	if in.keyID, rest, ok = cutString(rest, `;keyid="`); !ok {
		return in, TagSignatureMalformed
	}
	if alg, rest, ok = cutString(rest, `;alg="`); !ok {
		return in, TagSignatureMalformed
	}
	if profile, rest, ok = cutString(rest, `;tag="`); !ok {
		return in, TagSignatureMalformed
	}
	switch {
	case another(rest):
		return in, TagSignatureDoubled
	case rest != "":
		return in, TagSignatureMalformed
	case alg != "ed25519":
		return in, TagAlgorithm
	case profile != profileTag:
		return in, TagProfile
	case !parseNonce(&in.nonce, nonce):
		return in, TagNonce
	case !validThumbprint(in.keyID):
		return in, TagKeyID
	}
	return in, ""
}

// another reports whether a dictionary goes on with a second member.
func another(rest string) bool {
	return strings.HasPrefix(strings.TrimLeft(rest, " \t"), ",")
}

// cutInteger takes a non-negative integer in its shortest form.
func cutInteger(s, key string) (n int64, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, key)
	if !ok {
		return 0, "", false
	}
	i := 0
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		if i == strictDigits {
			return 0, "", false
		}
		n = n*10 + int64(s[i]-'0')
	}
	if i == 0 || s[0] == '0' && i > 1 {
		return 0, "", false
	}
	return n, s[i:], true
}

// cutString takes a quoted string without escapes.
func cutString(s, key string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, key)
	if !ok {
		return "", "", false
	}
	end := strings.IndexByte(s, '"')
	if end < 0 || strings.IndexByte(s[:end], '\\') >= 0 {
		return "", "", false
	}
	return s[:end], s[end+1:], true
}

var (
	strictURL = base64.RawURLEncoding.Strict()
	strictStd = base64.StdEncoding.Strict()
)

func parseNonce(n *Nonce, s string) bool {
	if len(s) != nonceLen {
		return false
	}
	var in [nonceLen]byte
	copy(in[:], s)
	got, err := strictURL.Decode(n[:], in[:])
	return err == nil && got == len(n)
}

func validThumbprint(s string) bool {
	if len(s) != ThumbprintLen {
		return false
	}
	var in [ThumbprintLen]byte
	var out [32]byte
	copy(in[:], s)
	n, err := strictURL.Decode(out[:], in[:])
	return err == nil && n == len(out)
}

// appendSignature writes the value of Signature.
func appendSignature(b, sig []byte) []byte {
	b = append(b, "sig=:"...)
	b = base64.StdEncoding.AppendEncode(b, sig)
	return append(b, ':')
}

// parseSignature takes the exact form that appendSignature writes.
func parseSignature(s string, sig *[64]byte) Tag {
	body, ok := strings.CutPrefix(s, "sig=:")
	if !ok {
		return TagSignatureMalformed
	}
	value, rest, ok := strings.Cut(body, ":")
	switch {
	case !ok:
		return TagSignatureMalformed
	case another(rest):
		return TagSignatureDoubled
	case rest != "" || len(s) != signatureLen || !decodeFixed(sig[:], value):
		return TagSignatureMalformed
	}
	return ""
}

// parseDigest takes the exact form that contentDigest writes.
func parseDigest(s string, sum *[32]byte) Tag {
	if !strings.HasPrefix(s, digestHead) || strings.IndexByte(s, ',') >= 0 {
		return TagDigestAlgorithm
	}
	if len(s) != digestLen || s[digestLen-1] != ':' || !decodeFixed(sum[:], s[len(digestHead):digestLen-1]) {
		return TagDigestMalformed
	}
	return ""
}

// decodeFixed decodes padded base64 in its one canonical form into exactly len(dst) bytes, at most 64.
func decodeFixed(dst []byte, s string) bool {
	var in [88]byte
	var out [66]byte
	if len(s) != base64.StdEncoding.EncodedLen(len(dst)) {
		return false
	}
	n, err := strictStd.Decode(out[:], in[:copy(in[:], s)])
	return err == nil && copy(dst, out[:n]) == len(dst) && n == len(dst)
}
