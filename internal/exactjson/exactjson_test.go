package exactjson

import (
	"encoding/json"
	"testing"
)

func TestCheck(t *testing.T) {
	for data, good := range map[string]bool{
		`{}`:                              true,
		` {"id":"a","k":1,"other":[]}`:    true,
		`{"id":{"id":1,"id":2}}`:          true, // not looked into
		`{"other":1,"other":2,"OTHER":3}`: true, // not named
		`{"id":"a","id":"a"}`:             false,
		`{"id":"a","ID":"b"}`:             false,
		`{"Id":"a"}`:                      false,
		"{\"id\":1,\"\\u0069d\":2}":       false, // the same name, escaped
		"{\"\u212a\":1}":                  false, // Kelvin, which folds to k
		``:                                false,
		`[]`:                              false,
		`null`:                            false,
		`"id"`:                            false,
		`{"id"`:                           false,
		`{"id":`:                          false,
		`{"id":1`:                         false,
		`{"id":1,}`:                       false,
	} {
		if err := Check([]byte(data), "id", "k"); (err == nil) != good {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// What Check lets through, encoding/json reads as a parser does that knows one spelling and takes the first.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"id":"a"}`, `{"id":"a","ID":"b"}`, `{"id":"a","id":"b"}`, `{"a":{"id":"x"},"id":"b"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got struct {
			ID json.RawMessage `json:"id"`
		}
		if Check(data, "id") != nil || json.Unmarshal(data, &got) != nil {
			return
		}
		exact := make(map[string]json.RawMessage)
		if err := json.Unmarshal(data, &exact); err != nil || string(exact["id"]) != string(got.ID) {
			t.Errorf("%s: %s, and %s to an exact parser: %v", data, got.ID, exact["id"], err)
		}
	})
}
