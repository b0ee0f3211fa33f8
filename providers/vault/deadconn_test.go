package vault_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/providers/vault"
)

// A path relays connections to a server, and can lose those that are open, as a router that forgot them does: nothing
// gets through any more and nobody is told.
type path struct {
	URL string

	mu    sync.Mutex
	lost  chan struct{} // closed: the connections made so far are lost
	conns []net.Conn
}

func newPath(t *testing.T, server string) *path {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &path{URL: "https://" + l.Addr().String(), lost: make(chan struct{})}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(server, "https://"))
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			lost := p.lost
			p.mu.Unlock()
			done.Go(func() { relay(in, out, lost) })
			done.Go(func() { relay(out, in, lost) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		done.Wait()
	})
	return p
}

func relay(to io.WriteCloser, from io.Reader, lost <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-lost:
			if err == nil {
				continue
			}
			return
		default:
		}
		if n > 0 {
			_, werr := to.Write(buf[:n])
			if err == nil {
				err = werr
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

func (p *path) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.lost)
	p.lost = make(chan struct{})
}

// A connection that is lost without a word must not be used again and again, each time for nothing.
func TestAConnectionThatIsLostIsReplaced(t *testing.T) {
	r := newRig(t)
	for name, server := range map[string]string{"HTTP/2": r.URL, "HTTP/1.1": r.proxy.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it computes
			p := newPath(t, server)
			c := r.connect(t, func(c *vault.Config) { c.Address, c.Timeout = p.URL, 5*time.Second })
			o := keyOptions()
			o.Patience = 30 * time.Second
			key := c.Key(o)
			set := pull(t, key)
			for range 2 {
				p.lose()
				mustSign(t, set, "by another connection")
				p.lose()
				within(t, "a pull by another connection", func() bool { _, err := key.SigningKeys(t.Context()); return err == nil })
			}
		})
	}
}
