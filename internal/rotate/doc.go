// Package rotate keeps one piece of material fresh: a trust bundle, an identity or a set of signing keys.
// One engine serves all three, so that scheduling, backoff, staleness and last-known-good exist once.
//
//	src, err := rotate.Start(ctx, rotate.Config[*Bundle]{
//		Role:  fault.RoleTrust,
//		Pull:  provider.TrustBundle,
//		Watch: provider.Watch,
//		Equal: sameBundle,
//		Life:  func(b *Bundle) rotate.Life { return rotate.Life{Refresh: time.Now().Add(5 * time.Minute)} },
//	})
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	bundle, ok := src.Current()
//
// Material is pulled when it is due, when Watch says that it may have changed, when Refresh is called, and
// after a failure with full-jitter backoff. A failure never replaces good material: the last good value
// stays, past its expiry too, and Status says which it is.
//
// The engine never decides what material is worth (Accept does), never closes a provider, never logs, and
// never runs two pulls at once, except beside calls that ignored the end of their context.
package rotate
