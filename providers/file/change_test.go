package file_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/alphaonedev/federation/providers/file"
	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// A follower does what sdk does: it pulls when it is told to, and keeps the last good value.
type follower struct {
	t    *testing.T
	told chan struct{}
	pull func(context.Context) (string, error)
	now  string  // what is in service
	errs []error // of the pulls since now was set
}

// follow starts to watch p. No time is spent on the poll that is there for network file systems: what is found is found by
// events.
func follow(t *testing.T, p sdk.Watcher, pull func(context.Context) (string, error)) *follower {
	t.Helper()
	f := &follower{t: t, told: make(chan struct{}, 1), pull: pull}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Watch(ctx, func() {
			select {
			case f.told <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch returned %v", err)
		}
	})
	f.once() // Watch tells once when it begins
	return f
}

// once waits until told, and pulls.
func (f *follower) once() {
	f.t.Helper()
	select {
	case <-f.told:
	case <-time.After(patience):
		f.t.Fatalf("not told within %v; in service: %s; errors: %v", patience, f.now, f.errs)
	}
	v, err := f.pull(f.t.Context())
	if err != nil {
		f.errs = append(f.errs, err)
		return
	}
	if v != f.now {
		f.now, f.errs = v, nil
	}
}

// until follows changes until want is in service.
func (f *follower) until(want string) {
	f.t.Helper()
	for f.now != want {
		f.once()
	}
}

// trustNames pulls a bundle.
func trustNames(p sdk.TrustProvider) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		b, err := p.TrustBundle(ctx)
		if err != nil {
			return "", err
		}
		return names(b), nil
	}
}

func namedCA(t testing.TB, name string) *sdktest.CA {
	return sdktest.NewCA(t, sdktest.CAOptions{Name: name})
}

// watched is a Trust that only events wake.
func watched(path string) *file.Trust {
	return &file.Trust{Path: path, Settle: 20 * time.Millisecond, Poll: -1}
}

func mkdir(t testing.TB, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func link(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".tmp"); runtime.GOOS == "windows" && err != nil {
		t.Skip(err) // it takes a privilege there
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesEveryWayToChangeAFile(t *testing.T) {
	a, b, c := namedCA(t, "A"), namedCA(t, "B"), namedCA(t, "C")
	const wantA, wantB, wantC = "A; 0 CRLs", "B; 0 CRLs", "C; 0 CRLs"

	t.Run("renamed over", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", a.PEM())
		p := watched(filepath.Join(dir, "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		replace(t, dir, "ca.pem", b.PEM())
		f.until(wantB)
		replace(t, dir, "ca.pem", c.PEM())
		f.until(wantC)
	})
	t.Run("written in place", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", a.PEM())
		p := watched(filepath.Join(dir, "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		write(t, dir, "ca.pem", b.PEM())
		f.until(wantB)
	})
	t.Run("removed and made again", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", a.PEM())
		p := watched(filepath.Join(dir, "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		rename(t, dir, "ca.pem", "old")
		f.once()
		if len(f.errs) != 1 || !errors.Is(f.errs[0], sdk.ErrNotFound) {
			t.Errorf("with the file away the pull says %v, want ErrNotFound", f.errs)
		}
		write(t, dir, "ca.pem", b.PEM())
		f.until(wantB)
	})
	t.Run("not there at first, nor its folder", func(t *testing.T) {
		dir := t.TempDir()
		p := watched(filepath.Join(dir, "tls", "deep", "ca.pem"))
		f := follow(t, p, trustNames(p))
		if len(f.errs) != 1 || !errors.Is(f.errs[0], sdk.ErrNotFound) {
			t.Errorf("before there is a file the pull says %v, want ErrNotFound", f.errs)
		}
		mkdir(t, dir, "tls", "deep")
		write(t, filepath.Join(dir, "tls", "deep"), "ca.pem", a.PEM())
		f.until(wantA)
	})
	t.Run("its folder renamed over", func(t *testing.T) {
		dir := t.TempDir()
		write(t, mkdir(t, dir, "tls"), "ca.pem", a.PEM())
		write(t, mkdir(t, dir, "next"), "ca.pem", b.PEM())
		p := watched(filepath.Join(dir, "tls", "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		rename(t, dir, "tls", "old")
		rename(t, dir, "next", "tls")
		f.until(wantB)
		replace(t, filepath.Join(dir, "tls"), "ca.pem", c.PEM()) // and the new folder is watched
		f.until(wantC)
	})
	t.Run("a link that leads elsewhere", func(t *testing.T) { // certbot
		dir := t.TempDir()
		live, archive := mkdir(t, dir, "live", "a.example"), mkdir(t, dir, "archive", "a.example")
		write(t, archive, "ca1.pem", a.PEM())
		write(t, archive, "ca2.pem", b.PEM())
		link(t, "../../archive/a.example/ca1.pem", filepath.Join(live, "ca.pem"))
		p := watched(filepath.Join(live, "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		link(t, "../../archive/a.example/ca2.pem", filepath.Join(live, "ca.pem"))
		f.until(wantB)
		replace(t, archive, "ca2.pem", c.PEM()) // where the link leads
		f.until(wantC)
	})
	t.Run("a folder on the way is a link that leads elsewhere", func(t *testing.T) {
		dir := t.TempDir()
		write(t, mkdir(t, dir, "releases", "1", "tls"), "ca.pem", a.PEM())
		write(t, mkdir(t, dir, "releases", "2", "tls"), "ca.pem", b.PEM())
		link(t, filepath.Join(dir, "releases", "1"), filepath.Join(dir, "current"))
		p := watched(filepath.Join(dir, "current", "tls", "ca.pem"))
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		link(t, "releases/2", filepath.Join(dir, "current"))
		f.until(wantB)
	})
	t.Run("a file that joins a folder, and one that leaves", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.pem", a.PEM())
		p := watched(dir)
		f := follow(t, p, trustNames(p))
		f.until(wantA)
		write(t, dir, "b.pem", b.PEM())
		f.until("A B; 0 CRLs")
		rename(t, dir, "a.pem", "a.old")
		f.until(wantB)
	})
	t.Run("a CRL", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "ca.pem", a.PEM())
		write(t, dir, "one.crl", a.CRL(t, sdktest.CRLOptions{}).Raw)
		p := watched(filepath.Join(dir, "ca.pem"))
		p.CRLs = []string{filepath.Join(dir, "one.crl")}
		f := follow(t, p, trustNames(p))
		f.until("A; 1 CRLs")
		two := append(sdktest.CRLPEM(a.CRL(t, sdktest.CRLOptions{})), sdktest.CRLPEM(a.CRL(t, sdktest.CRLOptions{}))...)
		replace(t, dir, "one.crl", two)
		f.until("A; 2 CRLs")
	})
	t.Run("permissions given back", func(t *testing.T) {
		mustBeUnprivileged(t)
		dir := t.TempDir()
		write(t, dir, "ca.pem", a.PEM())
		path := filepath.Join(dir, "ca.pem")
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		p := watched(path)
		f := follow(t, p, trustNames(p))
		if len(f.errs) != 1 || !errors.Is(f.errs[0], sdk.ErrPermission) {
			t.Errorf("the pull says %v, want ErrPermission", f.errs)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f.until(wantA)
	})
}

// kubelet writes a secret into a new folder, and swaps the link ..data that all files go through.
func TestWatchFollowsMountedSecrets(t *testing.T) {
	ca := sdktest.NewCA(t)
	dir := t.TempDir()
	publish := func(n int) string {
		data := mkdir(t, dir, fmt.Sprintf("..2026_11_24_%d", n))
		id := ca.Issue(t, sdktest.Leaf{CommonName: fmt.Sprintf("node %d", n)})
		write(t, data, "tls.crt", id.CertPEM())
		write(t, data, "tls.key", id.KeyPEM())
		link(t, filepath.Base(data), filepath.Join(dir, "..data"))
		if n > 0 {
			if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_11_24_%d", n-1))); err != nil {
				t.Fatal(err)
			}
		}
		return id.Leaf.Subject.CommonName
	}
	first := publish(0)
	for _, name := range []string{"tls.crt", "tls.key"} {
		link(t, filepath.Join("..data", name), filepath.Join(dir, name))
	}
	p := &file.Identity{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), Settle: 20 * time.Millisecond, Poll: -1}
	f := follow(t, p, leafName(p))
	f.until(first)
	for n := 1; n <= 5; n++ {
		f.until(publish(n))
	}
}

// leafName pulls an identity and holds that it is a pair.
func leafName(p sdk.IdentityProvider) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		id, err := p.Identity(ctx)
		if err != nil {
			return "", err
		}
		if err := isPair(id.Certificate); err != nil {
			return "", err
		}
		return id.Certificate.Leaf.Subject.CommonName, nil
	}
}

// isPair reports a key that does not belong to the certificate.
func isPair(c *tls.Certificate) error {
	pub, ok := c.PrivateKey.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(c.Leaf.PublicKey) {
		return errors.New("certificate and key do not belong together")
	}
	return nil
}

// The certificate is replaced long before its key: the old pair serves until both are there.
func TestCertificateReplacedBeforeItsKey(t *testing.T) {
	ca := sdktest.NewCA(t)
	one, two := ca.Issue(t, sdktest.Leaf{CommonName: "one"}), ca.Issue(t, sdktest.Leaf{CommonName: "two"})
	dir := t.TempDir()
	write(t, dir, "cert", one.CertPEM())
	write(t, dir, "key", one.KeyPEM())
	p := &file.Identity{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), Settle: 20 * time.Millisecond, Poll: -1}
	f := follow(t, p, leafName(p))
	f.until("one")

	replace(t, dir, "cert", two.CertPEM())
	f.once()
	if len(f.errs) != 1 || !errors.Is(f.errs[0], sdk.ErrMaterial) {
		t.Errorf("with half of the pair replaced the pull says %v, want ErrMaterial", f.errs)
	}
	if f.now != "one" {
		t.Errorf("in service is %s, want the old pair", f.now)
	}
	replace(t, dir, "key", two.KeyPEM())
	f.until("two")
}

// A bundle is written in place, a piece at a time, with a pause after each. No bundle that was never meant may be seen: not
// one of the first certificates alone.
func TestFileWrittenInPieces(t *testing.T) {
	a, b, c := namedCA(t, "A"), namedCA(t, "B"), namedCA(t, "C")
	dir := t.TempDir()
	write(t, dir, "ca.pem", a.PEM())
	const settle = 2 * time.Second // far more than the pauses, so that a busy machine does not matter
	p := &file.Trust{Path: filepath.Join(dir, "ca.pem"), Settle: settle, Poll: -1}
	f := follow(t, p, trustNames(p))
	f.until("A; 0 CRLs")

	out, err := os.Create(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		defer out.Close()
		for _, piece := range bytes.SplitAfter(bytes.Join([][]byte{a.PEM(), b.PEM(), c.PEM()}, nil), []byte("E-----\n")) {
			for half := range 2 { // in the middle of a block, and between two
				part := piece[:len(piece)/2]
				if half == 1 {
					part = piece[len(piece)/2:]
				}
				if _, err := out.Write(part); err != nil {
					t.Error(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}()
	defer func() { <-wrote }()
	for f.now != "A B C; 0 CRLs" {
		f.once()
		if f.now != "A; 0 CRLs" && f.now != "A B C; 0 CRLs" {
			t.Fatalf("in service is %s, which nobody meant", f.now)
		}
	}
}

// What is served is always one of the pairs that were published, whatever way they are published and however often it
// is pulled meanwhile.
func TestPullsNeverMix(t *testing.T) {
	ca := sdktest.NewCA(t)
	ids := []*sdktest.Issued{ca.Issue(t, sdktest.Leaf{CommonName: "0"}), ca.Issue(t, sdktest.Leaf{CommonName: "1"})}
	dir := t.TempDir()
	put := func(id *sdktest.Issued) {
		replace(t, dir, "cert", id.CertPEM())
		replace(t, dir, "key", id.KeyPEM())
	}
	put(ids[0])
	p := &file.Identity{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), Settle: -1}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				put(ids[i%2])
				runtime.Gosched()
			}
		}
	}()
	good := 0
	for range 2000 {
		id, err := p.Identity(t.Context())
		switch {
		case err == nil:
			good++
			if err := isPair(id.Certificate); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, sdk.ErrMaterial) && !errors.Is(err, sdk.ErrNotFound):
			t.Errorf("a pull in the middle of a change says %v", err)
		}
	}
	close(stop)
	<-done
	if good == 0 {
		t.Error("no pull succeeded")
	}
}

// A network file system tells nobody. Here nobody is told because the file is written through another name of it, in a
// folder that is not on the way; the poll finds it.
func TestPollFindsWhatNobodyTells(t *testing.T) {
	a, b := namedCA(t, "A"), namedCA(t, "B")
	dir := t.TempDir()
	near, far := mkdir(t, dir, "near"), mkdir(t, dir, "far")
	write(t, near, "ca.pem", a.PEM())
	if err := os.Link(filepath.Join(near, "ca.pem"), filepath.Join(far, "ca.pem")); err != nil {
		t.Skip(err)
	}
	p := watched(filepath.Join(near, "ca.pem"))
	p.Poll = 50 * time.Millisecond
	f := follow(t, p, trustNames(p))
	f.until("A; 0 CRLs")
	write(t, far, "ca.pem", b.PEM())
	f.until("B; 0 CRLs")
}

// Changes beside the files, in the same folder, cost no pull.
func TestWatchIgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ca.pem", namedCA(t, "A").PEM())
	p := watched(filepath.Join(dir, "ca.pem"))
	f := follow(t, p, trustNames(p))
	f.until("A; 0 CRLs")
	for i := range 50 {
		write(t, dir, fmt.Sprintf("other-%d.pem", i), []byte("x"))
	}
	replace(t, dir, "ca.pem", namedCA(t, "B").PEM())
	pulls := 0
	for f.now != "B; 0 CRLs" {
		f.once()
		pulls++
	}
	if pulls != 1 {
		t.Errorf("%d pulls for one change, want 1", pulls)
	}
}

// A file system may give a new folder the inode of one that is gone, so that nothing but events tells the two apart.
func TestWatchSeesAFolderMadeAgainAtOnce(t *testing.T) {
	a, b := namedCA(t, "A"), namedCA(t, "B")
	dir := filepath.Join(t.TempDir(), "cas")
	fill := func(cas ...*sdktest.CA) {
		mkdir(t, dir)
		for i, ca := range cas {
			write(t, dir, fmt.Sprintf("%d.pem", i), ca.PEM())
		}
	}
	fill(a)
	p := watched(dir)
	f := follow(t, p, trustNames(p))
	f.until("A; 0 CRLs")
	for range 20 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		fill(a, b)
		f.until("A B; 0 CRLs")
		if err := os.Remove(filepath.Join(dir, "1.pem")); err != nil {
			t.Fatal(err)
		}
		f.until("A; 0 CRLs")
	}
}

// A pull that comes late sees what Watch has not. Files that are by the next look again as they were are news to who
// pulled, though none to Watch.
func TestWatchTellsOfFilesThatAreAgainAsTheyWere(t *testing.T) {
	a, b := namedCA(t, "A"), namedCA(t, "B")
	dir := t.TempDir()
	write(t, dir, "a.pem", a.PEM())
	p := watched(dir)
	pull := trustNames(p)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var late string
	var err error
	tells := 0
	ended := p.Watch(ctx, func() {
		if tells++; tells > 1 {
			cancel()
			return
		}
		write(t, dir, "b.pem", b.PEM()) // Watch looks once this function has returned
		late, err = pull(ctx)
		if err := os.Remove(filepath.Join(dir, "b.pem")); err != nil {
			t.Error(err)
		}
	})
	if late != "A B; 0 CRLs" || err != nil {
		t.Fatalf("pulled %s, %v", late, err)
	}
	if tells != 2 || !errors.Is(ended, context.Canceled) {
		t.Errorf("told %d times, then %v; want a second time: B is gone, and who pulled has it", tells, ended)
	}
}
