// Package outbox keeps the messages that peers have not acked yet. A push records its message here for every
// peer before it reports success; what a peer acks is deleted, what it does not is replayed to it later, in
// order.
//
// A [Store] is small, so that a caller can keep the rows in a database of its own, in the transaction of the
// write that they announce. [NewMemory] is the bounded default; the package bolt beside this one is durable:
//
//	store, err := bolt.Open("outbox.db", bolt.Options{})
//	if err != nil { … }
//	defer store.Close()
//	fed, err := sdk.Builder{ …, Outbox: store }.Build(ctx)
//
// A store never sends, never decides when to try again, and never drops a message by itself: what does not
// fit is refused, for that peer alone, and the caller is told. outboxtest holds the suite that every store
// passes.
package outbox
