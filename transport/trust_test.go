package transport_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/sdktest"
	"github.com/alphaonedev/federation/transport"
)

func certs(c ...*x509.Certificate) []*x509.Certificate { return c }

// hanging is a handler that answers the head at once and the rest never.
func hanging(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// A pair of members where each has a root of its own, and a request from a to b that hangs halfway.
func hangingPair(t *testing.T, p transport.Protocol) (a, b *node, am, bm transport.Material, ended <-chan error) {
	caA, caB := sdktest.NewCA(t, sdktest.CAOptions{Name: "A"}), sdktest.NewCA(t, sdktest.CAOptions{Name: "B"})
	a = newNode(t, "a", transport.Options{Protocol: p}, nil)
	b = newNode(t, "b", transport.Options{}, http.HandlerFunc(hanging))
	am = transport.Material{Identity: a.issue(t, caA), Trust: trust(caB), Peers: []transport.Peer{b.peer()}}
	bm = transport.Material{Identity: b.issue(t, caB), Trust: trust(caA), Peers: []transport.Peer{a.peer()}}
	update(t, a.tr, am)
	update(t, b.tr, bm)
	resp, err := a.tr.RoundTrip(request(t, t.Context(), http.MethodGet, b, nil))
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.ReadAll(resp.Body)
		end <- err
	}()
	return a, b, am, bm, end
}

func wantEnd(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patient):
		t.Fatal("the connection lives on")
		return nil
	}
}

func TestARemovedRootCutsWhatDependsOnIt(t *testing.T) {
	other := sdktest.NewCA(t)
	protocols(t, func(t *testing.T, p transport.Protocol) {
		t.Run("outbound", func(t *testing.T) {
			a, _, am, _, ended := hangingPair(t, p)
			am.Trust = trust(other)
			update(t, a.tr, am)
			wantKind(t, wantEnd(t, ended), transport.KindCut)
			if st := a.tr.Stats(); st.Cut != 1 {
				t.Errorf("stats %+v, want one connection cut", st)
			}
			eventually(t, "none open", func() bool { return peerStats(t, a.tr, "b").Open[transport.Quorum] == 0 })
			if ev := a.events.last(transport.EventCut); ev.Peer != "b" || ev.Inbound || ev.Err == nil {
				t.Errorf("event %+v", ev)
			}
		})
		t.Run("inbound", func(t *testing.T) {
			_, b, _, bm, ended := hangingPair(t, p)
			bm.Trust = trust(other)
			update(t, b.tr, bm)
			wantKind(t, wantEnd(t, ended), transport.KindBroken)
			if st := b.tr.Stats(); st.Cut != 1 || st.Inbound != 0 {
				t.Errorf("stats %+v, want one connection cut and none left", st)
			}
			if ev := b.events.last(transport.EventCut); ev.Peer != "a" || !ev.Inbound {
				t.Errorf("event %+v", ev)
			}
		})
	})
}

func TestWhatChangesTrustCutsLiveConnections(t *testing.T) {
	// each changes the material of the member named, so that its connection with the other must end
	changes := map[string]func(t *testing.T, m *transport.Material, other *x509.Certificate, ca *sdktest.CA){
		"peer removed": func(t *testing.T, m *transport.Material, _ *x509.Certificate, _ *sdktest.CA) { m.Peers = nil },
		"certificate distrusted": func(t *testing.T, m *transport.Material, other *x509.Certificate, _ *sdktest.CA) {
			m.Distrusted = [][32]byte{sha256.Sum256(other.Raw)}
		},
		"key distrusted": func(t *testing.T, m *transport.Material, other *x509.Certificate, _ *sdktest.CA) {
			m.Distrusted = [][32]byte{sha256.Sum256(other.RawSubjectPublicKeyInfo)}
		},
		"root distrusted": func(t *testing.T, m *transport.Material, _ *x509.Certificate, ca *sdktest.CA) {
			m.Distrusted = [][32]byte{sha256.Sum256(ca.Certificate.Raw)}
		},
		"leaf revoked": func(t *testing.T, m *transport.Material, other *x509.Certificate, ca *sdktest.CA) {
			m.Trust = trust(ca)
			m.Trust.CRLs = append(m.Trust.CRLs, ca.CRL(t, sdktest.CRLOptions{Revoked: certs(other)}))
		},
		"pin added": func(t *testing.T, m *transport.Material, _ *x509.Certificate, _ *sdktest.CA) {
			m.Peers = append([]transport.Peer(nil), m.Peers...)
			m.Peers[0].SPKIPins = [][32]byte{{1}}
		},
		"ID added": func(t *testing.T, m *transport.Material, _ *x509.Certificate, _ *sdktest.CA) {
			m.Peers = append([]transport.Peer(nil), m.Peers...)
			m.Peers[0].IDs = []string{"spiffe://other/x"}
		},
		"server name changed": func(t *testing.T, m *transport.Material, _ *x509.Certificate, _ *sdktest.CA) {
			m.Peers = append([]transport.Peer(nil), m.Peers...)
			m.Peers[0].ServerName = "elsewhere.example"
		},
		"scope changed": func(t *testing.T, m *transport.Material, _ *x509.Certificate, _ *sdktest.CA) {
			m.Peers = append([]transport.Peer(nil), m.Peers...)
			m.Peers[0].Trust = trust(sdktest.NewCA(t))
		},
	}
	for name, change := range changes {
		for _, side := range []string{"outbound", "inbound"} {
			t.Run(name+"/"+side, func(t *testing.T) {
				ca := sdktest.NewCA(t)
				a := newNode(t, "a", transport.Options{}, nil)
				b := newNode(t, "b", transport.Options{}, http.HandlerFunc(hanging))
				am := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
				bm := transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}}
				update(t, a.tr, am)
				update(t, b.tr, bm)
				resp, err := a.tr.RoundTrip(request(t, t.Context(), http.MethodGet, b, nil))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if side == "outbound" {
					change(t, &am, bm.Identity.Leaf, ca)
					update(t, a.tr, am)
				} else {
					change(t, &bm, am.Identity.Leaf, ca)
					update(t, b.tr, bm)
				}
				if _, err = io.ReadAll(resp.Body); err == nil {
					t.Fatal("the exchange ended well")
				}
				if cut := a.tr.Stats().Cut + b.tr.Stats().Cut; cut != 1 {
					t.Errorf("%d connections cut, want 1", cut)
				}
				if _, _, err := send(t.Context(), a, b, "again"); err == nil {
					t.Error("a new request succeeded")
				} else if side == "inbound" && name != "peer removed" {
					wantKind(t, err, transport.KindTLS)
					if !transport.Unsent(err) {
						t.Errorf("a request that the peer's handshake refused may have been processed: %v", err)
					}
				}
			})
		}
	}
}

func TestWhatAddsTrustCutsNothing(t *testing.T) {
	protocols(t, func(t *testing.T, p transport.Protocol) {
		a, b, am, bm, ended := hangingPair(t, p)
		for _, n := range []struct {
			*node
			m transport.Material
		}{{a, am}, {b, bm}} {
			root := n.m.Trust.Roots[0]
			n.m.Trust = trust(sdktest.NewCA(t))
			n.m.Trust.Roots = append(n.m.Trust.Roots, root)
			n.m.Peers = append(n.m.Peers, transport.Peer{Name: "c", URL: "https://c.example"})
			n.m.Distrusted = [][32]byte{{1}}
			update(t, n.tr, n.m)
		}
		select {
		case err := <-ended:
			t.Fatalf("cut: %v", err)
		default:
		}
		if a.tr.Stats().Cut+b.tr.Stats().Cut != 0 {
			t.Error("connections were cut")
		}
		_ = a.tr.Close()
		wantKind(t, wantEnd(t, ended), transport.KindClosed)
	})
}

func TestAnIntermediateIsRevoked(t *testing.T) {
	root := sdktest.NewCA(t)
	ica := root.Intermediate(t, sdktest.CAOptions{Name: "intermediate"})
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	am := transport.Material{Identity: a.issue(t, root), Trust: trust(root), Peers: []transport.Peer{b.peer()}}
	update(t, a.tr, am)
	update(t, b.tr, transport.Material{Identity: b.issue(t, ica), Trust: trust(root), Peers: []transport.Peer{a.peer()}})
	mustSend(t, a, b, "x")

	revoked := func(crl *x509.RevocationList) {
		t.Helper()
		m := am
		m.Trust = trust(root)
		m.Trust.CRLs = []*x509.RevocationList{crl}
		update(t, a.tr, m)
		_, err := a.tr.Dial(t.Context(), "b", "http/1.1")
		wantKind(t, err, transport.KindRefused)
		update(t, a.tr, am)
		mustSend(t, a, b, "x")
	}
	revoked(root.CRL(t, sdktest.CRLOptions{Revoked: certs(ica.Certificate)}))
	// a list of the intermediate itself, whose signature can only be checked when the intermediate is seen
	leaf := b.issue(t, ica)
	update(t, b.tr, transport.Material{Identity: leaf, Trust: trust(root), Peers: []transport.Peer{a.peer()}})
	revoked(ica.CRL(t, sdktest.CRLOptions{Revoked: certs(leaf.Leaf)}))
	// distrusted
	m := am
	m.Distrusted = [][32]byte{sha256.Sum256(ica.Certificate.RawSubjectPublicKeyInfo)}
	update(t, a.tr, m)
	_, _, err := send(t.Context(), a, b, "x")
	wantKind(t, err, transport.KindRefused)
}

func TestCRLsThatCannotBeBelieved(t *testing.T) {
	ca := sdktest.NewCA(t)
	forger := sdktest.NewCA(t) // the same name, another key
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	join(t, ca, a, b)
	leaf := b.issue(t, ca)
	update(t, b.tr, transport.Material{Identity: leaf, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	m := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	m.Trust.CRLs = []*x509.RevocationList{forger.CRL(t, sdktest.CRLOptions{Revoked: certs(leaf.Leaf)})}
	update(t, a.tr, m)
	mustSend(t, a, b, "x")
	if n := a.events.count(transport.EventCRLIgnored); n != 1 {
		t.Errorf("%d events about a forged list, want 1", n)
	}
	update(t, a.tr, m)
	if n := a.events.count(transport.EventCRLIgnored); n != 1 {
		t.Errorf("%d events about a forged list after a second Update with it, want 1", n)
	}
}

func TestAStaleCRLStaysInForce(t *testing.T) {
	ca := sdktest.NewCA(t)
	past := time.Now().Add(-48 * time.Hour)
	leafOf := func(n *node) *sdktest.Issued { return ca.Issue(t, sdktest.Leaf{DNS: []string{n.host()}}) }
	for _, strict := range []bool{false, true} {
		a := newNode(t, "a", transport.Options{StrictCRL: strict, CRLGrace: time.Hour}, nil)
		b := newNode(t, "b", transport.Options{}, nil)
		c := newNode(t, "c", transport.Options{}, nil)
		good, bad := leafOf(b), leafOf(c)
		update(t, b.tr, transport.Material{Identity: good.TLS, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
		update(t, c.tr, transport.Material{Identity: bad.TLS, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
		m := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer(), c.peer()}}
		m.Trust.CRLs = []*x509.RevocationList{ca.CRL(t, sdktest.CRLOptions{Revoked: certs(bad.Leaf), ThisUpdate: past, NextUpdate: past.Add(time.Hour)})}
		update(t, a.tr, m)
		if _, _, err := send(t.Context(), a, c, "x"); transport.KindOf(err) != transport.KindRefused {
			t.Errorf("strict %v: revoked: %v, want it refused", strict, err)
		}
		_, _, err := send(t.Context(), a, b, "x")
		if strict {
			wantKind(t, err, transport.KindRefused)
		} else if err != nil {
			t.Errorf("not revoked: %v", err)
		}
		if n := a.events.count(transport.EventCRLStale); n != 1 {
			t.Errorf("strict %v: %d events about the stale list, want 1", strict, n)
		}
		// a fresh list beside it cures
		m.Trust = trust(ca)
		m.Trust.CRLs = []*x509.RevocationList{ca.CRL(t, sdktest.CRLOptions{Revoked: certs(bad.Leaf)})}
		update(t, a.tr, m)
		mustSend(t, a, b, "x")
	}
}

// Handshakes that run while trust is taken away: none survives, whichever side of the change it fell on.
func TestAHandshakeThatRacesTheChangeIsCheckedAgain(t *testing.T) {
	ca, other := sdktest.NewCA(t), sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	with := transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}}
	without := with
	without.Trust = trust(other)
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	update(t, a.tr, with)
	var raced int
	for round := range 25 {
		update(t, a.tr, with)
		began := peerStats(t, a.tr, "b").Dials
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				c, err := a.tr.Dial(context.Background(), "b", "http/1.1")
				if err != nil {
					return
				}
				defer c.Close()
				// Trust is gone when the loop below is done: then this ends, or hangs for ever.
				_ = c.SetReadDeadline(time.Now().Add(patient))
				_, err = c.Read(make([]byte, 1))
				if e, ok := err.(interface{ Timeout() bool }); ok && e.Timeout() {
					t.Error("a connection made while trust was withdrawn lives on")
				}
			}()
		}
		for peerStats(t, a.tr, "b").Dials == began {
			time.Sleep(50 * time.Microsecond)
		}
		time.Sleep(time.Duration(round) * 100 * time.Microsecond)
		cut := a.tr.Stats().Cut
		update(t, a.tr, without)
		if a.tr.Stats().Cut > cut {
			raced++
		}
		wg.Wait()
	}
	t.Logf("%d of 25 rounds had a connection to cut", raced)
}

func TestACertificateThatEndsLeavesService(t *testing.T) {
	ca := sdktest.NewCA(t)
	a := newNode(t, "a", transport.Options{IdleTimeout: 200 * time.Millisecond}, nil)
	b := newNode(t, "b", transport.Options{}, nil)
	short := ca.Issue(t, sdktest.Leaf{DNS: []string{b.host()}, NotAfter: time.Now().Add(2 * time.Second)})
	update(t, a.tr, transport.Material{Identity: a.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{b.peer()}})
	update(t, b.tr, transport.Material{Identity: short.TLS, Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	mustSend(t, a, b, "x")
	update(t, b.tr, transport.Material{Identity: b.issue(t, ca), Trust: trust(ca), Peers: []transport.Peer{a.peer()}})
	for end := short.Leaf.NotAfter.Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		mustSend(t, a, b, "x")
	}
	if n := peerStats(t, a.tr, "b").Handshakes; n < 2 {
		t.Errorf("%d handshakes: requests ride a connection whose certificate ended", n)
	}
	if c := a.tr.Stats().Cut; c != 0 {
		t.Errorf("%d connections cut", c)
	}
}
