package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/alphaonedev/federation/transport"
)

const (
	ackTimeout = 2 * time.Second
	bodySize   = 1 << 10
)

// load sends rate requests a second, each on time whatever the others do, and returns how long those that
// succeeded took and how many failed within the acknowledgement time.
func (s *site) load(rt http.RoundTripper, rate int, length time.Duration, operation bool) (ok times, failed int, why error) {
	body := make([]byte, bodySize)
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithTimeout(context.Background(), ackTimeout)
			defer cancel()
			if operation {
				ctx = transport.WithOperation(ctx, rand.Text())
			}
			d, err := s.post(ctx, rt, body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				why = err
				return
			}
			ok = append(ok, d)
		}()
	}
	wg.Wait()
	return ok, failed, why
}

// rotation changes identity or roots every second under load.
func rotation(o options) error {
	const rate, rtt = 200, 40 * time.Millisecond
	fmt.Printf("%d requests a second of 1 KB for %v at %v of round trip; no operation ids, nothing is repeated.\n\n", rate, o.time, rtt)
	fmt.Println("| every second | requests | failed | p50 | p99 | p99 beside no change | waited for a dial |")
	fmt.Println("|---|---|---|---|---|---|---|")
	var base time.Duration
	for _, c := range []struct {
		name   string
		change func(s *site, m *transport.Material, i int)
	}{
		{"nothing", nil},
		{"a new identity", func(s *site, m *transport.Material, _ int) { m.Identity = s.identity("a.example") }},
		{"other roots", func(s *site, m *transport.Material, i int) {
			m.Trust = s.trust()
			if i%2 == 0 {
				m.Trust = s.trust(s.other)
			}
		}},
	} {
		err := func() error {
			s, err := newSite(rtt)
			if err != nil {
				return err
			}
			defer s.close()
			t, err := s.transport(transport.Options{})
			if err != nil {
				return err
			}
			defer t.Close()
			if _, failed, why := s.load(t, rate, 2*time.Second, false); failed > 0 {
				return why
			}
			before := t.Stats().Peers[0]
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			var uerr error
			if c.change != nil {
				wg.Add(1)
				go func() {
					defer wg.Done()
					m := s.material()
					for i := 0; ; i++ {
						select {
						case <-time.After(time.Second):
						case <-ctx.Done():
							return
						}
						c.change(s, &m, i)
						if uerr = t.Update(context.Background(), m); uerr != nil {
							return
						}
					}
				}()
			}
			ok, failed, why := s.load(t, rate, o.time, false)
			cancel()
			wg.Wait()
			if uerr != nil {
				return uerr
			}
			if base == 0 {
				base = ok.at(.99)
			}
			fmt.Printf("| %s | %d | %d | %s | %s | %.2f | %d |\n", c.name, len(ok)+failed, failed, ms(ok.at(.5)), ms(ok.at(.99)),
				float64(ok.at(.99))/float64(base), t.Stats().Peers[0].Cold-before.Cold)
			if why != nil {
				fmt.Println("\nfailure:", why)
			}
			return nil
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// reload measures how long requests bear the certificate before, after a change of it.
func reload(o options) error {
	const rate, rtt = 200, 40 * time.Millisecond
	length := min(o.time, 10*time.Second)
	fmt.Printf("%d requests a second for %v at %v of round trip; the certificate changes once, after 2 s. Served on the one before,\n", rate, length, rtt)
	fmt.Println("of the requests sent later than the change:")
	fmt.Println()
	fmt.Println("| client | requests after the change | on the old certificate | the last of them, after |")
	fmt.Println("|---|---|---|---|")
	for _, name := range []string{"transport", "net/http, HTTP/1.1, GetClientCertificate", "net/http, HTTP/2, GetClientCertificate"} {
		err := func() error {
			s, err := newSite(rtt)
			if err != nil {
				return err
			}
			defer s.close()
			now := s.material()
			next := s.material()
			old := now.Identity.Leaf.SerialNumber.String()
			var mu sync.Mutex
			var changed time.Time
			var after, stale int
			var last time.Duration
			s.watch(func(serial string) {
				mu.Lock()
				defer mu.Unlock()
				// What arrives now was sent half a round trip ago.
				since := time.Since(changed) - s.rtt/2
				if changed.IsZero() || since < 0 {
					return
				}
				after++
				if serial == old {
					stale++
					last = since
				}
			})
			current := now.Identity
			var rt http.RoundTripper
			change := func() error {
				mu.Lock()
				defer mu.Unlock()
				current, changed = next.Identity, time.Now()
				return nil
			}
			switch name {
			case "transport":
				t, err := s.transport(transport.Options{})
				if err != nil {
					return err
				}
				defer t.Close()
				if err := t.Update(context.Background(), now); err != nil {
					return err
				}
				rt = t
				change = func() error {
					err := t.Update(context.Background(), next) // the change has happened when it returns
					mu.Lock()
					defer mu.Unlock()
					changed = time.Now()
					return err
				}
			default:
				t := s.netHTTP(name == "net/http, HTTP/2, GetClientCertificate", func() *tls.Certificate {
					mu.Lock()
					defer mu.Unlock()
					return current
				})
				defer t.CloseIdleConnections()
				rt = t
			}
			errs := make(chan error, 1)
			go func() {
				time.Sleep(2 * time.Second)
				errs <- change()
			}()
			_, failed, why := s.load(rt, rate, length, false)
			if err := <-errs; err != nil {
				return err
			}
			if failed > 0 {
				return why
			}
			mu.Lock()
			defer mu.Unlock()
			lastText := "-"
			if stale > 0 {
				lastText = ms(last)
			}
			fmt.Printf("| %s | %d | %d | %s |\n", name, after, stale, lastText)
			return nil
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// blackhole swallows every flow there is under load, while new ones pass.
func blackhole(o options) error {
	const rate = 50
	length := min(o.time, 12*time.Second)
	fmt.Printf("%d requests a second for %v; after 4 s every existing flow is blackholed, and new ones pass. Failed: not answered\n", rate, length)
	fmt.Printf("within %v.\n\n", ackTimeout)
	fmt.Println("| RTT | client | requests | failed | p50 | slowest answer | repeated |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, rtt := range distances {
		for _, name := range []string{"transport, operation ids", "transport, HTTP/2, operation ids", "net/http, HTTP/1.1", "net/http, HTTP/2"} {
			err := func() error {
				s, err := newSite(rtt)
				if err != nil {
					return err
				}
				defer s.close()
				var rt http.RoundTripper
				var ours *transport.Transport
				switch name {
				case "net/http, HTTP/1.1", "net/http, HTTP/2":
					t := s.netHTTP(name == "net/http, HTTP/2", s.fixed())
					defer t.CloseIdleConnections()
					rt = t
				default:
					o := transport.Options{}
					if name == "transport, HTTP/2, operation ids" {
						o.Protocol = transport.HTTP2
					}
					if ours, err = s.transport(o); err != nil {
						return err
					}
					defer ours.Close()
					rt = ours
				}
				timer := time.AfterFunc(4*time.Second, s.net.Blackhole)
				defer timer.Stop()
				ok, failed, _ := s.load(rt, rate, length, ours != nil)
				repeated := "-"
				if ours != nil {
					st := ours.Stats().Peers[0]
					repeated = fmt.Sprint(st.Silences + st.Resent)
				}
				fmt.Printf("| %v | %s | %d | %d | %s | %s | %s |\n", rtt, name, len(ok)+failed, failed, ms(ok.at(.5)), ms(ok.at(1)), repeated)
				return nil
			}()
			if err != nil {
				return err
			}
		}
	}
	return nil
}
