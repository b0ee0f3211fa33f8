package sdk

import (
	"context"
	"errors"
	"fmt"
)

func (f *Federation) isClosed() bool { return f.ctx.Err() != nil }

// isEnding reports whether nothing new is begun, because of Shutdown or Close.
func (f *Federation) isEnding() bool { return f.stopping.Load() || f.isClosed() }

// Shutdown stops new requests, which fail with ErrClosed from then on, waits within ctx for those in flight and for
// deliveries under way, and then closes. It returns ctx's error if that came first. Servers are the caller's to shut down,
// before this.
func (f *Federation) Shutdown(ctx context.Context) error {
	f.stopping.Store(true)
	err := f.delivery.drain(ctx)
	err = errors.Join(err, f.transport.Shutdown(ctx))
	return errors.Join(err, f.Close())
}

// Close ends everything at once: requests in flight fail. It waits for what the Federation has started, for an outbox that
// does not answer no longer than 5 s, and may be called again. What the outbox holds stays there.
func (f *Federation) Close() error {
	f.closing.Do(func() {
		f.cancel()
		if f.delivery != nil {
			f.delivery.close()
		}
		f.holds.close()
		if f.directory != nil {
			f.closeErr = f.directory.Close()
		}
		if f.transport != nil {
			f.closeErr = errors.Join(f.closeErr, f.transport.Close())
		}
		if f.identity != nil {
			f.identity.Close()
		}
		if f.keys != nil {
			f.keys.Close()
		}
		if f.state.Load() != nil {
			for _, s := range f.scopes() {
				s.source.Close()
			}
		} else if f.global != nil {
			f.global.source.Close()
		}
		f.background.Wait()
		f.events.close()
	})
	return f.closeErr
}

func closedError(op string) error { return fmt.Errorf("sdk: %s: federation: %w", op, ErrClosed) }
