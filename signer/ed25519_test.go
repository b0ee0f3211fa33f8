package signer

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignaturesAreJudgedAsWycheproofSays(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "ed25519_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ PK string }
			Tests     []struct {
				TCID              int
				Comment, Msg, Sig string
				Result            string
				Flags             []string
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, g := range file.TestGroups {
		pub := unhex(t, g.PublicKey.PK)
		for _, c := range g.Tests {
			ran++
			if got, want := holds(pub, unhex(t, c.Msg), unhex(t, c.Sig)), c.Result == "valid"; got != want {
				t.Errorf("%d (%s, %v): got %v, want %v", c.TCID, c.Comment, c.Flags, got, want)
			}
		}
	}
	if ran == 0 || ran != file.NumberOfTests {
		t.Errorf("ran %d of %d", ran, file.NumberOfTests)
	}
}

// testdata/ed25519vectors.json.gz exercises every combination of low-order points, low-order components and
// encodings that are not canonical. Its licence is beside it.
func TestSignaturesWithPointsOfLowOrderHaveOneReading(t *testing.T) {
	packed, err := os.ReadFile("testdata/ed25519vectors.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		A, R, S, M string
		Flags      []string
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i, v := range vectors {
		want := !slices.ContainsFunc(v.Flags, func(f string) bool {
			// LowOrderA is our own rule; the others are those of RFC 8032 without the cofactor.
			return f == "LowOrderA" || f == "LowOrderResidue" || f == "NonCanonicalR"
		})
		pub := ed25519.PublicKey(unhex(t, v.A))
		got := holds(pub, []byte(v.M), append(unhex(t, v.R), unhex(t, v.S)...))
		if got != want {
			t.Errorf("%d %v: got %v, want %v", i, v.Flags, got, want)
		}
		if got {
			accepted++
		}
	}
	if accepted == 0 || len(vectors) < 100 {
		t.Errorf("%d vectors, %d accepted", len(vectors), accepted)
	}
}
