package sdk

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/transport"
)

// A field is a carrier to peers that each ack after a time of their own.
type field map[string]time.Duration

func (field) knows(string) (bool, int) { return true, maxWidth }

func (f field) carry(ctx context.Context, peer string, letters []*letter, _ turn, _ transport.Lane) answer {
	select {
	case <-time.After(f[peer]):
		return acks(peer, letters)
	case <-ctx.Done():
		return answer{whole: reply{kind: quorum.Unknown, err: ctx.Err()}}
	}
}

// One push to 1,000 peers, W = 501, whose acks take 20 to 220 ms, beside the time at which the last of W acks can be there.
func BenchmarkThousandPeers(b *testing.B) {
	const peers, writes = 1000, 501
	f := make(field, peers)
	refs := make([]peerRef, peers)
	var delays []time.Duration
	for i := range refs {
		refs[i] = peerRef{name: fmt.Sprint("peer-", i), id: fmt.Sprint("p", i)}
		f[refs[i].id] = 20*time.Millisecond + time.Duration(i*7919%peers)*200*time.Microsecond
		delays = append(delays, f[refs[i].id])
	}
	slices.Sort(delays)
	best := delays[writes-2] // this node is one of W
	d := newDelivery(outbox.NewMemory(outbox.Limits{}), f, PushOptions{}, 0, "me", func(Event) {})
	defer d.close()
	policy, err := quorum.Policy{Writes: writes}.Resolve(peers)
	if err != nil {
		b.Fatal(err)
	}
	local := func(context.Context, *letter) (*quorum.Ack, quorum.Identity, error) {
		return nil, quorum.Identity{TLS: "me"}, nil
	}
	var took []time.Duration
	var goroutines int
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range b.N {
		l := newLetter(Message{Operation: fmt.Sprint("op-", i), Body: make([]byte, 1024), ContentType: "x/y"}, "me", time.Now())
		result, err := d.push(b.Context(), l, policy, refs, local)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, result.Elapsed)
		goroutines = max(goroutines, runtime.NumGoroutine())
	}
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	median := took[len(took)/2]
	b.ReportMetric(float64(median)/float64(best), "time/best")
	b.ReportMetric(median.Seconds()*1e3, "ms-to-quorum")
	b.ReportMetric(float64(goroutines), "goroutines")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1024, "KiB/push")
}
