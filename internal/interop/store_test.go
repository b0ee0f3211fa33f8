package interop

import (
	"context"
	"strconv"
	"sync"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

// A store is a small application: it keeps what it is given and hands it out, two messages a page.
type store struct {
	mu       sync.Mutex
	messages []sdk.PageMessage
}

func newStore() *store { return &store{} }

func (s *store) inbound() sdk.Inbound { return sdk.Inbound{Apply: s.apply, Pull: s.pull} }

func (s *store) apply(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
	switch d.Operation {
	case "later":
		return 0, sdk.Temporary("not today")
	case "never":
		return 0, sdk.Permanent("not ever")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, sdk.PageMessage{Message: d.Message, Created: d.Created})
	return sdk.Applied, nil
}

func (s *store) pull(_ context.Context, q sdk.PullQuery) (sdk.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, _ := strconv.Atoi(q.Cursor)
	if first < 0 || first > len(s.messages) {
		return sdk.Page{}, sdk.ErrCursor
	}
	last := min(first+2, len(s.messages))
	return sdk.Page{Messages: s.messages[first:last], Next: strconv.Itoa(last), More: last < len(s.messages)}, nil
}
