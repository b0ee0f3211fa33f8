// Package outboxtest holds the suite that every outbox.Store passes. It is an ordinary function, so that the
// author of a store can call it:
//
//	func TestStore(t *testing.T) {
//		outboxtest.Run(t, func(t *testing.T, limits outbox.Limits) outbox.Store { return newStore(t, limits) })
//	}
//
// It opens nothing by itself and leaves nothing behind.
package outboxtest
