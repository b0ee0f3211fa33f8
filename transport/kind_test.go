package transport_test

import (
	"encoding/json"
	"testing"

	"github.com/alphaonedev/federation/transport"
)

func TestACountByKindIsOneByWordInJSON(t *testing.T) {
	got, err := json.Marshal(map[transport.Kind]uint64{transport.KindUnreachable: 3})
	if err != nil || string(got) != `{"unreachable":3}` {
		t.Errorf("got %s, %v", got, err)
	}
}
