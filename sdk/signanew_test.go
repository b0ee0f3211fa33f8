package sdk

import (
	"testing"
	"time"
)

func TestAKeyIsPulledLessOftenWhileItIsInVain(t *testing.T) {
	var b barrenPulls
	key, other, now := publicOf(testSigningKey(t, 1)), publicOf(testSigningKey(t, 2)), time.Now()
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		want *= time.Second
		if !b.mayAsk(key, now) {
			t.Fatalf("pull %d: not allowed when due", i)
		}
		b.add(key, now)
		b.add(key, now.Add(want/2)) // it waited for the same pull
		if b.mayAsk(key, now.Add(want-1)) {
			t.Errorf("pull %d in vain: allowed before %v are over", i, want)
		}
		now = now.Add(want)
	}
	b.add(key, now)
	if !b.mayAsk(other, now) {
		t.Error("the key after it has to wait")
	}
	b.clear()
	if !b.mayAsk(key, now) {
		t.Error("a key that signed again has to wait")
	}
}
