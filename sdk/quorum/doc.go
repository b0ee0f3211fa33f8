// Package quorum decides when a write has reached W of N nodes, and proves it afterwards. It does no I/O,
// starts no goroutine and reads no clock.
//
// A [Policy] says how many nodes must have a write; a [Tally] counts their acks by authenticated identity
// and says, as early as it can be said, whether the quorum is met or lost. An [Ack] is a small statement
// that the node which took the message has signed; W of them make a [Receipt] that [Verify] checks offline,
// with the keys of the time:
//
//	receipt, err := quorum.ParseReceipt(stored)
//	if err != nil { … }
//	err = quorum.Verify(receipt, quorum.Keys{Of: keysByNode, Writes: 2})
//
// It never counts by URL, never counts an ack that was not proven, and never clamps a policy that cannot be met.
package quorum
