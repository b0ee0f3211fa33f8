// Package exactjson finds objects that two parsers read in two ways. encoding/json takes the last of several
// members of one name, and takes a name in any case; others take the first, or that in the right case alone.
package exactjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

var errNoObject = errors.New("not a JSON object")

// Check reports whether data begins with a JSON object that has none of the named members twice or in another
// case. Objects within it are not looked into, and neither is what follows it.
func Check(data []byte, names ...string) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNoObject
	}
	seen := make([]bool, len(names))
	var value json.RawMessage
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errNoObject
		}
		for i, n := range names {
			if !strings.EqualFold(name, n) {
				continue
			}
			if seen[i] || name != n {
				return fmt.Errorf("member %q is there twice, or in another case", n)
			}
			seen[i] = true
		}
		if err := d.Decode(&value); err != nil {
			return errNoObject
		}
	}
	if _, err := d.Token(); err != nil {
		return errNoObject
	}
	return nil
}
