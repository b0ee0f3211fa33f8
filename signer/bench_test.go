package signer_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alphaonedev/federation/signer"
)

// benchSizes are bodies in bytes.
var benchSizes = []int{1 << 10, 64 << 10, 1 << 20}

// benchPair signs and verifies with the real clock and default configuration.
func benchPair(tb testing.TB) (*signer.Signer, *signer.Verifier) {
	tb.Helper()
	n := newNode(tb, func(sc *signer.Config, vc *signer.VerifierConfig) {
		sc.Clock, vc.Clock = time.Now, time.Now
		vc.Skew = time.Nanosecond // or everything near the start would have to be signed again
		cache, err := signer.NewReplayCache(signer.ReplayCacheConfig{Quota: signer.DefaultReplayCapacity})
		if err != nil {
			tb.Fatal(err)
		}
		vc.Replay = lasting{cache}
	})
	return n.signer, n.verifier
}

// lasting is a replay store that claims to outlive the process.
type lasting struct{ signer.ReplayStore }

func (lasting) Since() time.Time { return time.Time{} }

func benchRequest(tb testing.TB, body []byte) *http.Request {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, pushURL, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

// serverSide is what net/http hands to a handler for req.
func serverSide(req *http.Request, body []byte) *http.Request {
	r := httptest.NewRequest(req.Method, req.URL.String(), nil)
	r.Header = req.Header.Clone()
	r.RequestURI = req.URL.RequestURI()
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r.WithContext(req.Context())
}

// ratio times op against floor by the thread's processor time, in alternating batches, and compares the
// medians. What disturbs one disturbs the other, and what others do on the machine counts for neither.
// Background work of the garbage collector is in neither; its assists are. reading, where there is one, is
// the part of op that every recipient of a body has: its time is reported, and the ratio without it.
func ratio(b *testing.B, floor, prepare, op, reading func(i int)) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	batch := func(f func(int)) time.Duration {
		t := cpuTime()
		for i := range batchSize {
			f(i)
		}
		return (cpuTime() - t) / batchSize
	}
	var floors, ops, reads []time.Duration
	for n := 0; b.Loop(); n++ {
		for i := range batchSize {
			prepare(i)
		}
		if n%2 == 0 {
			floors = append(floors, batch(floor))
			ops = append(ops, batch(op))
		} else {
			ops = append(ops, batch(op))
			floors = append(floors, batch(floor))
		}
		if reading != nil {
			reads = append(reads, batch(reading))
		}
	}
	median := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	f, o := median(floors), median(ops)
	b.ReportMetric(float64(f.Nanoseconds()), "floor-ns")
	b.ReportMetric(float64(o.Nanoseconds()), "ours-ns")
	b.ReportMetric(float64(o)/float64(f), "ratio")
	if reading != nil {
		r := median(reads)
		b.ReportMetric(float64(r.Nanoseconds()), "reading-ns")
		b.ReportMetric(float64(o-r)/float64(f), "ratio-without-reading")
	}
}

const batchSize = 16

// floorData are signatures of batchSize different messages, since the time of a check depends on both. They
// are as long as the signature base of benchRequest.
func floorData(tb testing.TB) (bases, sigs [batchSize][]byte, key ed25519.PrivateKey, pub ed25519.PublicKey) {
	tb.Helper()
	key = privateKey(1)
	var length int
	n := newNode(tb, func(c *signer.Config, _ *signer.VerifierConfig) { c.Key = measuringKey{c.Key, &length} })
	if err := n.signer.Sign(benchRequest(tb, []byte("x")), signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
		tb.Fatal(err)
	}
	for i := range batchSize {
		bases[i] = bytes.Repeat([]byte{byte(i)}, length)
		sigs[i] = ed25519.Sign(key, bases[i])
	}
	return bases, sigs, key, key.Public().(ed25519.PublicKey)
}

// measuringKey notes the length of what it signs.
type measuringKey struct {
	signer.Key
	length *int
}

func (k measuringKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	*k.length = len(message)
	return k.Key.Sign(ctx, message)
}

// BenchmarkSign reports the time of a complete Sign as a multiple of its floor: SHA-256 of the body and one
// Ed25519 signature. One iteration is a batch of each; TestAllocations counts allocations.
func BenchmarkSign(b *testing.B) {
	bases, _, key, _ := floorData(b)
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size>>10)+"KB", func(b *testing.B) {
			s, _ := benchPair(b)
			body := bytes.Repeat([]byte("x"), size)
			req := benchRequest(b, body)
			to := signer.Audience{To: "b.example", Operation: "op-1"}
			ratio(b, func(i int) {
				sha256.Sum256(body)
				ed25519.Sign(key, bases[i])
			}, func(int) {}, func(int) {
				if err := s.Sign(req, to); err != nil {
					b.Fatal(err)
				}
			}, nil)
		})
	}
}

// BenchmarkVerify does the same for a complete Verify, which reads the body into memory and keeps it.
func BenchmarkVerify(b *testing.B) {
	kept := make([]byte, benchSizes[len(benchSizes)-1])
	benchVerify(b, kept, func(b *testing.B, v *signer.Verifier, r *http.Request) {
		got, err := v.Verify(r, signer.From{Peer: "a"})
		if err != nil {
			b.Fatal(err)
		}
		got.Release()
	})
}

// BenchmarkVerifyStream does the same for a VerifyStream, whose body is read in pieces of 32 KB and not kept.
func BenchmarkVerifyStream(b *testing.B) {
	buf := make([]byte, piece)
	benchVerify(b, buf, func(b *testing.B, v *signer.Verifier, r *http.Request) {
		if _, err := v.VerifyStream(r, signer.From{Peer: "a"}, 0); err != nil {
			b.Fatal(err)
		}
		for {
			_, err := r.Body.Read(buf)
			if err == io.EOF {
				return
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// piece is how much of a body is read at once, in bytes.
const piece = 32 << 10

// benchVerify times verify. A recipient that verifies nothing would read the body into memory, over and over
// where that is smaller.
func benchVerify(b *testing.B, memory []byte, verify func(*testing.B, *signer.Verifier, *http.Request)) {
	b.Helper()
	bases, sigs, _, pub := floorData(b)
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size>>10)+"KB", func(b *testing.B) {
			s, v := benchPair(b)
			body := bytes.Repeat([]byte("x"), size)
			req := benchRequest(b, body)
			to := signer.Audience{To: "b.example", Operation: "op-1", Content: signer.NewContent(body)}
			var all [batchSize]*http.Request
			ratio(b, func(i int) {
				sha256.Sum256(body)
				ed25519.Verify(pub, bases[i], sigs[i])
			}, func(i int) {
				if err := s.Sign(req, to); err != nil {
					b.Fatal(err)
				}
				all[i] = serverSide(req, body)
			}, func(i int) { verify(b, v, all[i]) }, func(int) {
				r := bytes.NewReader(body)
				for at := 0; r.Len() > 0; {
					n, _ := r.Read(memory[at:min(at+piece, len(memory))])
					if at += n; at == len(memory) {
						at = 0
					}
				}
			})
		})
	}
}

// BenchmarkVerifyParallel is for -cpu 1,2: the time of one Verify of 1 KB with all cores at it. On a machine
// that does other work as well the wall says little; then the processor time of one Verify, and what
// goroutines waited for each other's locks, say what two cores could do: wait-ns counts against cpu-ns.
func BenchmarkVerifyParallel(b *testing.B) {
	s, v := benchPair(b)
	body := bytes.Repeat([]byte("x"), 1<<10)
	req := benchRequest(b, body)
	to := signer.Audience{To: "b.example", Content: signer.NewContent(body)}
	all := make([]*http.Request, b.N)
	for i := range all {
		if err := s.Sign(req, to); err != nil {
			b.Fatal(err)
		}
		all[i] = serverSide(req, body)
	}
	next := make(chan *http.Request, len(all))
	for _, r := range all {
		next <- r
	}
	runtime.GC()
	cpu, wait := processTime(), lockWait()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := v.Verify(<-next, signer.From{Peer: "a"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((processTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64((lockWait()-wait).Nanoseconds())/float64(b.N), "wait-ns/op")
}

// lockWait is how long goroutines of this process have waited for locks so far.
func lockWait() time.Duration {
	s := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(s)
	return time.Duration(s[0].Value.Float64() * float64(time.Second))
}

// BenchmarkForgery is what a message with a bad signature costs, as a multiple of one signature check.
func BenchmarkForgery(b *testing.B) {
	bases, sigs, _, pub := floorData(b)
	s, v := benchPair(b)
	body := bytes.Repeat([]byte("x"), 1<<10)
	req := benchRequest(b, body)
	if err := s.Sign(req, signer.Audience{To: "b.example", Operation: "op-1"}); err != nil {
		b.Fatal(err)
	}
	req.Header.Set(signer.HeaderOperation, "op-2")
	r := serverSide(req, body)
	ratio(b, func(i int) { ed25519.Verify(pub, bases[i], sigs[i]) }, func(int) {}, func(int) {
		if _, err := v.Verify(r, signer.From{Peer: "a"}); err == nil {
			b.Fatal("accepted")
		}
	}, nil)
}

// BenchmarkReplayCache spends nonces in a cache that holds a million all the time: as many are forgotten as are
// spent, so growth and rotation are in the figure. It reports the bytes of each entry.
func BenchmarkReplayCache(b *testing.B) {
	const (
		million = 1_000_000
		window  = 100 * time.Second
		step    = 3 * window / 2 / million // one to two generations, which hold a million in the mean
	)
	now := start
	cache := newCache(b, signer.ReplayCacheConfig{
		Capacity: million * 3 / 2, Quota: million * 3 / 2, Window: window, Clock: func() time.Time { return now },
	})
	id := signer.Thumbprint(privateKey(1).Public().(ed25519.PublicKey))
	var n uint64
	spend := func() {
		n++
		now = now.Add(step)
		if err := cache.Spend(b.Context(), id, number(n), now.Add(window)); err != nil {
			b.Fatal(err)
		}
	}
	for range million * 3 / 2 {
		spend()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	t := cpuTime()
	for b.Loop() {
		spend()
	}
	b.ReportMetric(float64((cpuTime()-t).Nanoseconds())/float64(b.N), "cpu-ns/op")
	st := cache.Stats()
	b.ReportMetric(float64(st.Bytes)/float64(st.Entries), "bytes/entry")
	b.ReportMetric(float64(st.Entries), "entries")
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, v := benchPair(t)
	for _, size := range benchSizes {
		body := bytes.Repeat([]byte("x"), size)
		req := benchRequest(t, body)
		to := signer.Audience{To: "b.example", Operation: "op-1"}
		if n := testing.AllocsPerRun(20, func() {
			if err := s.Sign(req, to); err != nil {
				t.Fatal(err)
			}
		}); n > 20 {
			t.Errorf("Sign of %d bytes: %v allocations, want at most 20", size, n)
		} else {
			t.Logf("Sign of %d bytes: %v allocations", size, n)
		}
		var all []*http.Request
		for range 22 {
			if err := s.Sign(req, to); err != nil {
				t.Fatal(err)
			}
			all = append(all, serverSide(req, body))
		}
		i := 0
		if n := testing.AllocsPerRun(20, func() {
			if _, err := v.Verify(all[i], signer.From{Peer: "a"}); err != nil {
				t.Fatal(err)
			}
			i++
		}); n > 30 {
			t.Errorf("Verify of %d bytes: %v allocations, want at most 30", size, n)
		} else {
			t.Logf("Verify of %d bytes: %v allocations", size, n)
		}
	}
}
