// Package bolt is the durable outbox: one bbolt file (go.etcd.io/bbolt) that survives kill -9 and power loss.
//
//	store, err := bolt.Open("outbox.db", bolt.Options{})
//	if err != nil { … }
//	defer store.Close()
//
// Concurrent writers share a commit, and so a disk synchronisation. One process at a time holds the file. A
// file that is damaged is moved aside and reported, never deleted. The file grows to the most that it has
// ever held and is reused from there; it does not shrink.
//
// It never sends anything and never drops a message by itself.
package bolt
