package stepca

import "time"

// MakeDue makes the certificate of an identity look as if two thirds of its life were over.
func MakeDue(i *Identity) { i.makeDue() }

// MakeKeyDue makes the signing key be replaced by the next pull, at once.
func MakeKeyDue(k *Key) {
	k.flow.gate <- struct{}{}
	defer func() { <-k.flow.gate }()
	k.flow.due = time.Unix(1, 0)
	k.flow.cfg.Lead = time.Nanosecond
}
