package quorum

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestJSONIsForPeopleToo(t *testing.T) {
	r, keys := testReceipt(t)
	r.Acks[0].Proof.Path = []Hash{Hash(DigestOf([]byte("sibling")))}
	why := errors.New("the disk is full")
	outcomes := []Outcome{
		{Peer: "a", Kind: Acked, Verdict: Applied, Ack: r.Acks[0]},
		{Peer: "b", Kind: Drifted, Err: why},
	}
	for _, v := range []any{
		Result{Digest: r.Digest, Outcomes: outcomes, Receipt: r},
		&NotMetError{Outcomes: outcomes, Reason: Drift, Err: errors.New("too late")},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"Kind":"acked"`, `"Kind":"drifted"`, `"Verdict":"applied"`, `"Verdict":""`, `"Err":"the disk is full"`, `"Err":""`, `"Digest":"` + r.Digest.String() + `"`} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%T: %s lacks %s", v, b, want)
			}
		}
	}
	if b, _ := json.Marshal(&NotMetError{Err: why}); !strings.Contains(string(b), `"Err":"the disk is full"`) {
		t.Errorf("%s lacks the cause", b)
	}

	r.Acks[0].Proof.Path = nil
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Receipt
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if err := Verify(&back, keys); err != nil {
		t.Errorf("a receipt that went through JSON: %v", err)
	}
}

func TestTextComesBack(t *testing.T) {
	for _, v := range []any{Unsent, Unknown, Acked, Drifted, Refused, Verdict(0), Applied, Noop, DigestOf(nil), Hash(DigestOf(nil))} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := json.Unmarshal(b, back.Interface()); err != nil || back.Elem().Interface() != v {
			t.Errorf("%v: %s comes back as %v, %v", v, b, back.Elem(), err)
		}
	}
	for _, bad := range []struct {
		into any
		text string
	}{
		{new(Kind), "kind(9)"}, {new(Verdict), "verdict(3)"}, {new(Digest), "00"}, {new(Digest), strings.Repeat("g", 64)}, {new(Hash), ""},
	} {
		b, _ := json.Marshal(bad.text)
		if err := json.Unmarshal(b, bad.into); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T of %q: %v", bad.into, bad.text, err)
		}
	}
}
