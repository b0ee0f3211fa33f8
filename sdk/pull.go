package sdk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/alphaonedev/federation/internal/exactjson"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// A PullQuery asks the application for a page.
type PullQuery struct {
	Peer   Peer   // who asks
	Cursor string // "" for the beginning; otherwise Page.Next of an earlier page. On the ai-memory wire: since
	Limit  int    // at most so many messages
	Bytes  int    // of bodies together, unless a single message is larger
}

// A PageMessage is a message of a page.
type PageMessage struct {
	Message           // with its Operation
	Created time.Time // zero means: at the time of asking
}

// A Page is a part of what a node has, in an order that the application keeps to.
type Page struct {
	Peer     Peer // whose it is; set by Pull, ignored of Inbound.Pull
	Messages []PageMessage
	// Next is the cursor for what follows. Its meaning is the application's own; at most 1024 bytes. Empty, where
	// there is no more, leaves who asks where it was.
	Next string
	// More says that there is more now.
	More bool
}

// PullOptions are the options of Pull.
type PullOptions struct {
	// Peers names the peers, by name or ID, each once however often it is named. Default: all.
	Peers []string
	// Cursors holds, by peer ID, where to go on; missing means from the beginning.
	Cursors map[string]string
}

// A PullResult is how a Pull from one peer ended.
type PullResult struct {
	Peer   string
	ID     string
	Pages  int
	Pulled int    // messages
	Cursor string // where to go on next time
	Err    error  // why it ended before there was nothing more
}

// Pull asks peers for what they have, page by page, each peer by itself so that a slow one delays no other, on the
// bulk lane. take gets the pages of one peer in order, one at a time, and those of different peers concurrently; when
// it returns an error, no more is pulled from that peer. A page's Next, kept once its messages are, resumes later. The
// error joins why pulls ended early; ctx bounds it all.
func (f *Federation) Pull(ctx context.Context, opts PullOptions, take func(context.Context, Page) error) ([]PullResult, error) {
	members, err := f.choosePeers(opts.Peers)
	if err != nil {
		return nil, fmt.Errorf("sdk: pull: %w", err)
	}
	results := make([]PullResult, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		results[i] = PullResult{Peer: m.Name, ID: m.ID, Cursor: opts.Cursors[m.ID]}
		wg.Go(func() { results[i].Err = f.pullFrom(ctx, m, take, &results[i]) })
	}
	wg.Wait()
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", r.Peer, r.Err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return results, fmt.Errorf("sdk: pull: %w", err)
	}
	return results, nil
}

func (f *Federation) pullFrom(ctx context.Context, m *member, take func(context.Context, Page) error, result *PullResult) error {
	var circle circle
	for attempt := 1; ; {
		page, again, after, err := f.pullPage(ctx, m, result.Cursor)
		if err != nil {
			if !again || attempt == bulkAttempts || ctx.Err() != nil {
				return err
			}
			if err := f.restBetween(ctx, after, attempt); err != nil {
				return err
			}
			attempt++
			continue
		}
		attempt = 1
		if page.More && circle.closes(result.Cursor, page.Next) {
			return fmt.Errorf("the peer says that there is more and gives a cursor again: %w", ErrMaterial)
		}
		if len(page.Messages) > 0 || page.Next != result.Cursor {
			if err := take(ctx, page); err != nil {
				return err
			}
			result.Pages++
			result.Pulled += len(page.Messages)
			result.Cursor = page.Next
		}
		if !page.More {
			return nil
		}
	}
}

// A circle finds out, in constant space, that steps lead back to where they were (Brent's algorithm).
type circle struct {
	mark    string // a place on the way
	steps   int    // since
	atMost  int    // before the next mark
	started bool
}

// closes takes a step and reports whether it leads to the mark, or nowhere.
func (c *circle) closes(from, to string) bool {
	if !c.started || c.steps == c.atMost {
		*c = circle{mark: from, atMost: max(1, 2*c.atMost), started: true}
	}
	c.steps++
	return to == c.mark || to == from
}

// maxPage bounds what is read of a page.
const maxPage = MaxMessage + maxBatchBytes + 64<<10

// pullPage gets one page. again says whether the same request may succeed later, after which pause at least.
func (f *Federation) pullPage(ctx context.Context, m *member, cursor string) (page Page, again bool, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(transport.WithLane(ctx, transport.Bulk), 3*sendTimeout)
	defer cancel()
	q := url.Values{}
	switch {
	case m.Wire == signer.WireAIMemory:
		q.Set("peer", f.sender())
		if cursor != "" {
			q.Set("since", cursor)
		}
	case cursor != "":
		q.Set("cursor", cursor)
	}
	target := m.PullURL()
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(transport.WithOperation(ctx, "pull:"+rand.Text()), http.MethodGet, target, nil)
	if err != nil {
		return page, false, 0, err
	}
	resp, err := roundTripper{f}.RoundTrip(req)
	if err != nil {
		return page, true, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a := refusalOf(resp)
		if signer.RefusalOf(resp) == TagCursor {
			return page, false, 0, fmt.Errorf("%w: %w", ErrCursor, a.whole.err)
		}
		return page, !a.whole.final && resp.StatusCode >= 429, a.after, a.whole.err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil {
		return page, true, 0, err
	}
	if len(body) > maxPage {
		return page, false, 0, fmt.Errorf("a page of more than %d bytes: %w", maxPage, ErrMaterial)
	}
	page.Peer = m.clone()
	if m.Wire == signer.WireAIMemory {
		page.Messages, page.Next, page.More, err = parseMemoryPage(body, cursor)
	} else if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != mediaPage {
		err = fmt.Errorf("a page of type %.80q: %w", media, ErrMaterial)
	} else {
		var letters []*letter
		letters, page.Next, page.More, err = parsePage(body)
		if page.Next == "" { // the beginning follows nothing
			page.Next = cursor
		}
		for _, l := range letters {
			page.Messages = append(page.Messages, PageMessage{Message: l.Message, Created: l.created})
		}
	}
	if err != nil {
		return Page{}, false, 0, fmt.Errorf("%w: %w", ErrMaterial, err)
	}
	return page, false, 0, nil
}

// maxAheadOfUs is how far ahead of our clock a memory's time may be to count. One that is said to be of a far future
// would hide all that follow.
const maxAheadOfUs = 24 * time.Hour

// parseMemoryPage parses a page of the ai-memory wire. That wire has no cursor: what follows a page is what
// came since the latest time in it.
func parseMemoryPage(body []byte, since string) (messages []PageMessage, next string, more bool, err error) {
	var p struct {
		Memories json.RawMessage `json:"memories"`
		Error    string          `json:"error"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, "", false, fmt.Errorf("page: %w: %w", errWire, err)
	}
	if err := exactjson.Check(body, "memories", "error"); err != nil {
		return nil, "", false, fmt.Errorf("page: %w: %w", errWire, err)
	}
	if p.Memories == nil {
		return nil, "", false, fmt.Errorf("page: %w: it has no memories, and says %.200q", errWire, p.Error)
	}
	var memories []json.RawMessage
	if err := json.Unmarshal(p.Memories, &memories); err != nil {
		return nil, "", false, fmt.Errorf("page: %w: memories: %w", errWire, err)
	}
	latest := time.Now().Add(maxAheadOfUs)
	next = since
	for i, raw := range memories {
		var m struct {
			ID      string `json:"id"`
			Created string `json:"created_at"`
			Updated string `json:"updated_at"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, "", false, fmt.Errorf("page: %w: memories[%d]: %w", errWire, i, err)
		}
		if err := exactjson.Check(raw, "id", "created_at", "updated_at"); err != nil {
			return nil, "", false, fmt.Errorf("page: %w: memories[%d]: %w", errWire, i, err)
		}
		if err := quorum.ValidOperation(m.ID); err != nil {
			return nil, "", false, fmt.Errorf("page: %w: memories[%d].id: %w", errWire, i, err)
		}
		at := m.Updated
		if at == "" {
			at = m.Created
		}
		created, _ := time.Parse(time.RFC3339, at)
		if later(at, next) && created.Before(latest) {
			next = at
		}
		messages = append(messages, PageMessage{Message: Message{Operation: m.ID, Body: raw, ContentType: mediaMemories}, Created: created})
	}
	return messages, next, next != since, nil
}

// later compares two times in RFC 3339; "" is before all.
func later(a, b string) bool {
	ta, err := time.Parse(time.RFC3339, a)
	if err != nil {
		return false
	}
	tb, err := time.Parse(time.RFC3339, b)
	return err != nil || ta.After(tb)
}
