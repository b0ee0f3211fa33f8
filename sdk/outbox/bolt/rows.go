package bolt

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk/outbox"
)

// appendMessage writes one message and an entry for each peer that fits, and fills seqs in.
func appendMessage(tx *bbolt.Tx, m outbox.Message, peers []string, seqs []uint64, fits func(string) bool) error {
	messages, queues := tx.Bucket(messagesBucket), tx.Bucket(queuesBucket)
	st := state{size: uint32(len(m.Body))}
	var refs uint32
	for i, peer := range peers {
		if seqs[i] = 0; !fits(peer) {
			continue
		}
		seq, err := queues.NextSequence()
		if err != nil {
			return err
		}
		if st.message == 0 {
			st.message = seq
		}
		q, err := queues.CreateBucketIfNotExists([]byte(peer))
		if err != nil {
			return err
		}
		q.FillPercent = 0.9 // keys only grow
		if err := q.Put(key(seq), st.encode()); err != nil {
			return err
		}
		seqs[i] = seq
		refs++
	}
	if refs == 0 {
		return nil
	}
	messages.FillPercent = 0.9
	if err := messages.Put(key(st.message), encodeMessage(m)); err != nil {
		return err
	}
	return tx.Bucket(refsBucket).Put(key(st.message), binary.BigEndian.AppendUint32(nil, refs))
}

func readEntries(tx *bbolt.Tx, peer string, want outbox.Query) ([]outbox.Entry, error) {
	q := queueOf(tx, peer)
	if q == nil || want.After == math.MaxUint64 {
		return nil, nil
	}
	messages := tx.Bucket(messagesBucket)
	var entries []outbox.Entry
	var bytes int64
	c := q.Cursor()
	for k, v := c.Seek(key(want.After + 1)); k != nil && len(entries) < want.Messages; k, v = c.Next() {
		st, err := decodeState(v)
		if err != nil {
			return nil, err
		}
		if st.quarantined != want.Quarantined {
			continue
		}
		bytes += int64(st.size)
		if len(entries) > 0 && want.Bytes > 0 && bytes > want.Bytes {
			break
		}
		m, err := decodeMessage(messages.Get(key(st.message)))
		if err != nil {
			return nil, err
		}
		entries = append(entries, outbox.Entry{
			Message: m, Seq: binary.BigEndian.Uint64(k),
			Refusals: int(st.refusals), Quarantined: st.quarantined, Reason: st.reason,
		})
	}
	return entries, nil
}

func markEntries(tx *bbolt.Tx, peer string, marks []outbox.Mark, add func(string, counts)) error {
	q := queueOf(tx, peer)
	if q == nil {
		return nil
	}
	for _, m := range marks {
		v := q.Get(key(m.Seq))
		if v == nil {
			continue
		}
		st, err := decodeState(v)
		if err != nil {
			return err
		}
		was := st.counts()
		st.refusals, st.quarantined, st.reason = uint32(max(m.Refusals, 0)), m.Quarantined, outbox.CutReason(m.Reason)
		if err := q.Put(key(m.Seq), st.encode()); err != nil {
			return err
		}
		is := st.counts()
		add(peer, counts{is.depth - was.depth, is.quarantine - was.quarantine, 0})
	}
	return nil
}

func deleteEntries(tx *bbolt.Tx, peer string, seqs []uint64, add func(string, counts)) error {
	q := queueOf(tx, peer)
	if q == nil {
		return nil
	}
	for _, seq := range seqs {
		v := q.Get(key(seq))
		if v == nil {
			continue
		}
		st, err := decodeState(v)
		if err != nil {
			return err
		}
		if err := q.Delete(key(seq)); err != nil {
			return err
		}
		if err := release(tx, st.message); err != nil {
			return err
		}
		c := st.counts()
		add(peer, counts{-c.depth, -c.quarantine, -c.bytes})
	}
	if k, _ := q.Cursor().First(); k == nil {
		return tx.Bucket(queuesBucket).DeleteBucket([]byte(peer))
	}
	return nil
}

// release drops one reference to a message, and the message with the last.
func release(tx *bbolt.Tx, seq uint64) error {
	refs := tx.Bucket(refsBucket)
	v := refs.Get(key(seq))
	if len(v) != 4 {
		return fmt.Errorf("outbox: %w: message %d is gone and an entry refers to it", ErrCorrupt, seq)
	}
	if n := binary.BigEndian.Uint32(v); n > 1 {
		return refs.Put(key(seq), binary.BigEndian.AppendUint32(nil, n-1))
	}
	if err := refs.Delete(key(seq)); err != nil {
		return err
	}
	return tx.Bucket(messagesBucket).Delete(key(seq))
}

// oldest is when the first entry that waits was created.
func oldest(tx *bbolt.Tx, peer string) (time.Time, error) {
	entries, err := readEntries(tx, peer, outbox.Query{Messages: 1})
	if err != nil || len(entries) == 0 {
		return time.Time{}, err
	}
	return entries[0].Created, nil
}

func queueOf(tx *bbolt.Tx, peer string) *bbolt.Bucket {
	if peer == "" {
		return nil
	}
	return tx.Bucket(queuesBucket).Bucket([]byte(peer))
}

// survey reads everything once: it finds damage before anything is sent, and counts.
func survey(tx *bbolt.Tx) (map[string]*counts, error) {
	queues, messages, counted := tx.Bucket(queuesBucket), tx.Bucket(messagesBucket), tx.Bucket(refsBucket)
	if queues == nil || messages == nil || counted == nil {
		return nil, fmt.Errorf("outbox: %w: a bucket is missing", ErrCorrupt)
	}
	all := make(map[string]*counts)
	refs := make(map[uint64]uint32)
	err := queues.ForEachBucket(func(peer []byte) error {
		c := &counts{}
		all[string(peer)] = c
		return queues.Bucket(peer).ForEach(func(k, v []byte) error {
			st, err := decodeState(v)
			if err == nil && len(k) != 8 {
				err = fmt.Errorf("outbox: %w: queue key of %d bytes", ErrCorrupt, len(k))
			}
			if err != nil {
				return err
			}
			d := st.counts()
			c.depth, c.quarantine, c.bytes = c.depth+d.depth, c.quarantine+d.quarantine, c.bytes+d.bytes
			refs[st.message]++
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	err = messages.ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("outbox: %w: message key of %d bytes", ErrCorrupt, len(k))
		}
		if _, err := decodeMessage(v); err != nil {
			return err
		}
		seq, n := binary.BigEndian.Uint64(k), counted.Get(k)
		if len(n) != 4 || refs[seq] != binary.BigEndian.Uint32(n) {
			return fmt.Errorf("outbox: %w: message %d has %d entries and counts %x", ErrCorrupt, seq, refs[seq], n)
		}
		delete(refs, seq)
		return nil
	})
	if err == nil && len(refs) > 0 {
		err = fmt.Errorf("outbox: %w: %d messages are gone that entries refer to", ErrCorrupt, len(refs))
	}
	return all, err
}
