package plugin_test

import (
	"strings"
	"testing"
)

// The plugin of these tests has no Watch: nobody is told that its keys have changed. Its new process knows the new
// key alone.

func TestAMessageIsSignedWithTheKeyThatReplacedItsOwn(t *testing.T) {
	p := newPair(t, "no", true)
	ctx := within(t)
	if err := p.a.Warm(ctx); err != nil {
		t.Fatal(err)
	}
	old := p.a.Status().SigningKey
	p.folder.rotateKey(t)
	restart(t, p.plugin)
	for len(p.signed) > 0 {
		<-p.signed
	}
	if _, err := p.send("signed-anew"); err != nil {
		t.Fatalf("the request that met the change: %v", err)
	}
	now := p.a.Status().SigningKey
	if input := strings.Join(<-p.signed, " "); now == old || !strings.Contains(input, now) {
		t.Errorf("signed as %s, want with the new key %s; the old is %s", input, now, old)
	}
}

func TestAHandshakeWithAKeyThatIsGoneHasTheNewOneFetchedAtOnce(t *testing.T) {
	p := newPair(t, "no", false)
	eventually(t, "it is polled", func() bool { return p.a.Status().Identity.Watch == "polling" })
	before := p.a.Status()
	p.folder.rotateIdentity(t)
	restart(t, p.plugin)
	// No connection is open yet. The handshake cannot be saved: the certificate is on its way already.
	if _, err := p.send("first"); err == nil {
		t.Error("the plugin signed with a key that it does not have")
	}
	eventually(t, "the new identity is in service", func() bool {
		s := p.a.Status()
		return s.Generation == before.Generation+1 && s.Fingerprint != before.Fingerprint
	})
	if _, err := p.send("second"); err != nil {
		t.Error(err)
	}
	if now := p.a.Status().Identity; now.State != "fresh" || now.Generation != 2 {
		t.Errorf("identity is %+v", now)
	}
}
