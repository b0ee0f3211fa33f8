package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alphaonedev/federation/transport"
)

var distances = []time.Duration{40 * time.Millisecond, 230 * time.Millisecond}

// roundTrips counts what a request of 1 KB costs in round trips.
func roundTrips(o options) error {
	fmt.Println("Medians, in round trips, of a request of 1 KB.")
	fmt.Println()
	fmt.Println("| RTT | client | cold | warm | first after Update and Warm | first after a change of identity |")
	fmt.Println("|---|---|---|---|---|---|")
	body := make([]byte, 1<<10)
	ctx := context.Background()
	for _, rtt := range distances {
		s, err := newSite(rtt)
		if err != nil {
			return err
		}
		var cold, warm, first, rotated times
		for range o.n {
			err := func() error {
				t, err := s.transport(transport.Options{})
				if err != nil {
					return err
				}
				defer t.Close()
				for _, into := range []*times{&cold, &warm} {
					d, err := s.post(ctx, t, body)
					if err != nil {
						return err
					}
					*into = append(*into, d)
				}
				if err := t.Update(ctx, s.material()); err != nil {
					return err
				}
				d, err := s.post(ctx, t, body)
				rotated = append(rotated, d)
				if err != nil {
					return err
				}
				w, err := s.transport(transport.Options{})
				if err != nil {
					return err
				}
				defer w.Close()
				if err := w.Warm(ctx); err != nil {
					return err
				}
				d, err = s.post(ctx, w, body)
				first = append(first, d)
				return err
			}()
			if err != nil {
				return err
			}
		}
		fmt.Printf("| %v | transport | %s | %s | %s | %s |\n", rtt, s.rtts(cold.at(.5)), s.rtts(warm.at(.5)), s.rtts(first.at(.5)), s.rtts(rotated.at(.5)))
		for _, h2 := range []bool{false, true} {
			var cold, warm times
			for range o.n {
				t := s.netHTTP(h2, s.fixed())
				for _, into := range []*times{&cold, &warm} {
					d, err := s.post(ctx, t, body)
					if err != nil {
						return err
					}
					*into = append(*into, d)
				}
				t.CloseIdleConnections()
			}
			fmt.Printf("| %v | net/http, %s | %s | %s | | |\n", rtt, version(h2), s.rtts(cold.at(.5)), s.rtts(warm.at(.5)))
		}
		s.close()
	}
	return nil
}

func version(h2 bool) string {
	if h2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// bodies times larger requests on a connection that is new, in use, and idle for a while.
func bodies(o options) error {
	fmt.Println("Medians of a request with a large body: on the first connection there is (transport: warmed beforehand), right")
	fmt.Println("after another, and after 3 s without traffic.")
	fmt.Println()
	fmt.Println("| RTT | body | client | first | next | after 3 s idle |")
	fmt.Println("|---|---|---|---|---|---|")
	ctx := context.Background()
	reps := max(o.n/3, 3)
	for _, rtt := range distances {
		s, err := newSite(rtt)
		if err != nil {
			return err
		}
		for _, size := range []int{64 << 10, 256 << 10} {
			type client struct {
				name string
				make func() (http.RoundTripper, func(), error)
			}
			ours := func(p transport.Protocol) func() (http.RoundTripper, func(), error) {
				return func() (http.RoundTripper, func(), error) {
					t, err := s.transport(transport.Options{Protocol: p})
					if err != nil {
						return nil, nil, err
					}
					return t, func() { _ = t.Close() }, t.Warm(ctx)
				}
			}
			plain := func(h2 bool) func() (http.RoundTripper, func(), error) {
				return func() (http.RoundTripper, func(), error) {
					t := s.netHTTP(h2, s.fixed())
					return t, t.CloseIdleConnections, nil
				}
			}
			for _, c := range []client{
				{"transport", ours(transport.HTTP1)},
				{"transport, HTTP/2", ours(transport.HTTP2)},
				{"net/http, HTTP/1.1", plain(false)},
				{"net/http, HTTP/2", plain(true)},
			} {
				type result struct {
					first, next, idle time.Duration
					err               error
				}
				results := make(chan result, reps)
				for range reps { // side by side, each on connections of its own: the waits overlap
					go func() {
						var r result
						defer func() { results <- r }()
						rt, done, err := c.make()
						if err != nil {
							r.err = err
							return
						}
						defer done()
						body := make([]byte, size)
						var errs [3]error
						r.first, errs[0] = s.post(ctx, rt, body)
						r.next, errs[1] = s.post(ctx, rt, body)
						time.Sleep(3 * time.Second)
						r.idle, errs[2] = s.post(ctx, rt, body)
						r.err = errors.Join(errs[:]...)
					}()
				}
				var first, next, idle times
				for range reps {
					r := <-results
					if r.err != nil {
						return r.err
					}
					first, next, idle = append(first, r.first), append(next, r.next), append(idle, r.idle)
				}
				fmt.Printf("| %v | %d KB | %s | %s | %s | %s |\n", rtt, size>>10, c.name, ms(first.at(.5)), ms(next.at(.5)), ms(idle.at(.5)))
			}
		}
		s.close()
	}
	return nil
}
