package signer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What two implementations make of a message that was changed at random is the same, to the tag.
func TestASecondImplementationAgreesOnChangedMessages(t *testing.T) {
	const messages = 2000
	r := rand.New(rand.NewPCG(9421, 9530))
	federation, memory := newVectorFile(t, "", nil), newVectorFile(t, "", nil)
	good := federationVectors(t)
	for range messages {
		federation.Vectors = append(federation.Vectors, changed(r, good[r.IntN(len(good))]))
	}
	good = memoryVectors(t)
	for range messages / 2 {
		memory.Vectors = append(memory.Vectors, changed(r, good[r.IntN(len(good))]))
	}
	folder := t.TempDir()
	seen := map[Tag]int{}
	for name, file := range map[string]*vectorFile{"federation.json": federation, "ai-memory.json": memory, "statements.json": newVectorFile(t, "", []*vector{})} {
		for _, v := range file.Vectors {
			got, err := judge(t, file, v)
			var refusal *Refusal
			v.Base, v.Tag, v.Operation = "", "", ""
			if errors.As(err, &refusal) {
				v.Tag = refusal.Tag
			} else {
				v.Operation = got.Operation
			}
			seen[v.Tag]++
		}
		data, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if seen[""] < messages/100 || len(seen) < 30 {
		t.Errorf("%d accepted, %d tags: the changes are too coarse", seen[""], len(seen))
	}
	secondImplementation(t, folder)
}

// changed returns a message with up to two changes.
func changed(r *rand.Rand, v *vector) *vector {
	c := *v
	c.Header = append([][2]string(nil), v.Header...)
	c.Repeat = false
	for range r.IntN(3) {
		at := r.IntN(len(c.Header))
		switch r.IntN(9) {
		case 0:
			c.Header = append(c.Header, c.Header[at])
		case 1:
			if len(c.Header) > 1 {
				c.Header = append(c.Header[:at:at], c.Header[at+1:]...)
			}
		case 2:
			c.Header = append(c.Header, [2]string{pick(r, "Content-Encoding", "Host", HeaderMemoryNonce, HeaderSignature), pick(r, "", "b.example", "x")})
		case 3:
			c.Host = pick(r, "B.Example:443", "b.example:", "b.example:0", "b.example:99999", "b.example:123456", "[::1]:443", "[::1", "::1", "[::1]x", "[]", "a:b",
				"b.example:80:80", ".", strings.Repeat("a", 261), strings.Repeat("a", 262))
		case 4:
			c.Target = pick(r, "/", "//", "/?", "/??", "*", "a", "/a b", "/é", "/a#b", "/\\", "http://x/", "/"+strings.Repeat("a", 8191), "/"+strings.Repeat("a", 8192))
		case 5:
			c.Now += r.Int64N(140) - 70
		case 6:
			c.Method = pick(r, "GET", "get", "PU T", "CONNECT", "A!#$%&'*+.^_`|~-", strings.Repeat("M", 32), strings.Repeat("M", 33))
		default:
			c.Header[at][1] = nudged(r, c.Header[at][1])
		}
	}
	if r.IntN(10) == 0 {
		c.Body = base64.StdEncoding.EncodeToString([]byte(pick(r, "", "{}", "x", `{"sender_agent_id":null}`, "\xff")))
	}
	return &c
}

// nudged returns a text with one small change.
func nudged(r *rand.Rand, s string) string {
	part := pick(r, " ", "\t", ",", ";", "=", `"`, `\`, ":", "(", ")", "A", "0", "-", "/", "_", "%", "é", "\x7f", "==")
	if s == "" {
		return part
	}
	at := r.IntN(len(s))
	switch r.IntN(5) {
	case 0:
		return s[:at] + s[at+1:]
	case 1:
		return s[:at] + part + s[at:]
	case 2:
		return s[:at] + part + s[at+1:]
	case 3:
		return s[:at] + s[at/2:]
	}
	return s[:at]
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }
