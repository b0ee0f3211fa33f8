// Package interop holds a test: nodes of this module federate with a peer in another language, peer.py, which was
// written from docs/wire.md and docs/wire-push.md and shares no code with them.
package interop
