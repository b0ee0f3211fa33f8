package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
)

// Tags of refusals of the push wire. Tags never change their meaning.
const (
	TagMessage   signer.Tag = "message_malformed" // 400: the body is no batch
	TagMedia     signer.Tag = "media_unknown"     // 415: the content type is not that of the wire
	TagSender    signer.Tag = "sender_mismatch"   // 403: the sender calls itself what another node is called
	TagOutOfTurn signer.Tag = "out_of_turn"       // 503: the batches before it did not come
	TagNoPush    signer.Tag = "push_not_served"   // 404: this node takes no messages
	TagNoPull    signer.Tag = "pull_not_served"   // 404: this node hands none out
	TagCursor    signer.Tag = "cursor_unknown"    // 400: the application does not know the cursor
	TagPullFault signer.Tag = "pull_failed"       // 503: the application could not make a page
	TagPath      signer.Tag = "path_unknown"      // 404: nothing is served there
	TagMethod    signer.Tag = "method_unknown"    // 405: pushes are posted, pages are got
)

// Handler returns the other side of Push, PushAll and Pull, complete: it takes messages, hands them out, and
// serves this node's key directory, at the paths of Peer.PushURL, Peer.PullURL and signer.DirectoryPath below
// whatever prefix it is mounted under. Everything but the key directory is verified as Verify does.
//
// A message reaches in.Apply once, and its ack, signed where this node has a key, answers every repetition. The
// same operation id with another body is refused.
func (f *Federation) Handler(in Inbound) http.Handler {
	h := &handler{f: f, in: in, memory: newAckMemory(in.Remember)}
	push, pull, keys := f.Verify(http.HandlerFunc(h.push)), f.Verify(http.HandlerFunc(h.pull)), f.KeyDirectory()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, pushPath):
			push.ServeHTTP(w, r)
		case strings.HasSuffix(path, pullPath):
			pull.ServeHTTP(w, r)
		case strings.HasSuffix(path, signer.DirectoryPath):
			keys.ServeHTTP(w, r)
		default:
			refuse(w, http.StatusNotFound, TagPath, nil)
		}
	})
}

type handler struct {
	f      *Federation
	in     Inbound
	memory *ackMemory
	turns  turnstile
}

func refuse(w http.ResponseWriter, status int, tag signer.Tag, err error) {
	signer.WriteRefusal(w, &signer.Refusal{Tag: tag, Status: status, Err: err})
}

// push takes a batch.
func (h *handler) push(w http.ResponseWriter, r *http.Request) {
	m := memberFrom(r.Context())
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, TagMethod, nil)
		return
	case h.in.Apply == nil:
		refuse(w, http.StatusNotFound, TagNoPush, nil)
		return
	}
	body, to, err := h.body(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, TagMessage, err)
		return
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if m.Wire == signer.WireAIMemory {
		if media != mediaMemories {
			refuse(w, http.StatusUnsupportedMediaType, TagMedia, nil)
			return
		}
		h.takeMemories(w, r, m, body)
		return
	}
	if media != mediaBatch {
		refuse(w, http.StatusUnsupportedMediaType, TagMedia, nil)
		return
	}
	letters, t, err := parseBatch(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, TagMessage, err)
		return
	}
	if err := h.f.checkSender(r, m, letters[0].sender); err != nil {
		h.f.deny(w, m, err)
		return
	}
	if err := h.turns.enter(r.Context(), m.ID, t); err != nil {
		refuse(w, http.StatusServiceUnavailable, TagOutOfTurn, err)
		return
	}
	replies := h.receive(r.Context(), m, letters, to)
	h.turns.leave(m.ID, t)
	answer, err := encodeAnswer(replies)
	if err != nil { // an ID of ours that no ack can hold
		h.f.events.emit(Event{Kind: EventReceived, Peer: m.Name, Err: err, Detail: "an ack cannot be encoded"})
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = []string{mediaAnswer}
	_, _ = w.Write(answer)
}

// body returns the body of a verified request, and the name by which its sender knows this node.
func (h *handler) body(r *http.Request) (body []byte, to string, err error) {
	to = h.f.sender()
	if v, ok := VerifiedFrom(r.Context()); ok {
		if v.To != "" {
			to = v.To
		}
		return v.Body, to, nil
	}
	body, err = io.ReadAll(r.Body)
	return body, to, err
}

// receive applies what is new of a batch, in order, and answers for every message of it. The acks are signed
// together.
func (h *handler) receive(ctx context.Context, m *member, letters []*letter, to string) []wireReply {
	replies := make([]wireReply, len(letters))
	marks := make([]*remembered, len(letters))
	keys := make([]string, len(letters))
	var fresh []int
	var acks []*quorum.Ack
	peer := m.clone()
	for i, l := range letters {
		l.digest = quorum.DigestOf(l.Body)
		keys[i] = l.Operation
		if m.Wire == signer.WireAIMemory {
			keys[i] += " " + l.digest.String() // an id there is that of a memory, which may change
		}
		r, first := h.memory.begin(m.ID, keys[i])
		marks[i] = r
		if !first {
			continue
		}
		verdict, err := h.apply(ctx, Delivery{Message: l.Message, Peer: peer, Digest: l.digest, Created: l.created, SenderName: l.sender})
		if err != nil {
			h.memory.end(m.ID, keys[i], r, nil)
			replies[i], marks[i] = replyTo(err), nil
			continue
		}
		fresh = append(fresh, i)
		acks = append(acks, &quorum.Ack{
			Operation: l.Operation, Digest: l.digest, Sender: l.sender, Recipient: to,
			Verdict: verdict, Time: time.Now().Truncate(time.Millisecond),
		})
	}
	var signErr error
	if m.Wire == signer.WireFederation {
		signErr = h.sign(ctx, acks)
	}
	for j, i := range fresh {
		h.memory.end(m.ID, keys[i], marks[i], acks[j])
	}
	h.answer(ctx, m, letters, marks, to, replies, signErr)
	return replies
}

// sign proves acks, and says loudly when it cannot. A peer that hung up is no reason to be loud.
func (h *handler) sign(ctx context.Context, acks []*quorum.Ack) error {
	err := h.f.signAcks(ctx, acks...)
	if err != nil && ctx.Err() == nil {
		h.f.events.emit(Event{Kind: EventReceived, Err: err, Detail: "acks cannot be signed: peers get no ack of what was applied, and ask again"})
	}
	return err
}

// answer fills in the replies to messages that were applied, by this request or by another.
func (h *handler) answer(ctx context.Context, m *member, letters []*letter, marks []*remembered, to string, replies []wireReply, signErr error) {
	for i, r := range marks {
		if r == nil {
			continue
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			replies[i] = wireReply{state: stateTemporary, reason: "it is being applied"}
			continue
		}
		ack := h.memory.ackOf(r)
		if ack == nil {
			replies[i] = wireReply{state: stateTemporary, reason: "not taken"}
			continue
		}
		if ack.Digest != letters[i].digest {
			replies[i] = wireReply{state: stateConflict, reason: "the operation id is known with another digest"}
			continue
		}
		if m.Wire == signer.WireFederation && h.outdated(ack, letters[i], to) {
			again := *ack
			again.Proof, again.Sender, again.Recipient = nil, letters[i].sender, to
			if signErr == nil {
				signErr = h.sign(ctx, []*quorum.Ack{&again})
			}
			if signErr != nil {
				replies[i] = wireReply{state: stateTemporary, reason: "the ack cannot be signed"}
				continue
			}
			h.memory.renew(r, &again)
			ack = &again
		}
		replies[i] = wireReply{state: stateAcked, ack: ack}
	}
}

// outdated reports whether a stored ack would not satisfy the sender of a repeated message: it lacks a proof,
// was signed with a key that is no longer in service, or calls the two nodes by other names.
func (h *handler) outdated(ack *quorum.Ack, l *letter, to string) bool {
	if ack.Sender != l.sender || ack.Recipient != to {
		return true
	}
	ring := h.f.ring()
	if ring == nil {
		return ack.Proof != nil || h.f.keys != nil && h.f.cfg.Signing == SignRequired
	}
	return ack.Proof == nil || ack.Proof.KeyID != signer.Thumbprint(ring.public)
}

// takeMemories takes a batch on the ai-memory wire.
func (h *handler) takeMemories(w http.ResponseWriter, r *http.Request, m *member, body []byte) {
	letters, dryRun, err := parseMemories(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, TagMessage, err)
		return
	}
	if len(letters) > 0 {
		if err := h.f.checkSender(r, m, letters[0].sender); err != nil {
			h.f.deny(w, m, err)
			return
		}
	}
	answer := struct {
		IDs     []string `json:"ids"`
		Applied int      `json:"applied"`
		Noop    int      `json:"noop"`
		Skipped int      `json:"skipped"`
		DryRun  bool     `json:"dry_run"`
	}{IDs: []string{}, DryRun: dryRun}
	temporary := 0
	if !dryRun && len(letters) > 0 {
		for i, reply := range h.receive(r.Context(), m, letters, h.f.sender()) {
			switch {
			case reply.state != stateAcked:
				answer.Skipped++
				if reply.state == stateTemporary {
					temporary++
				}
				continue
			case reply.ack.Verdict == Noop:
				answer.Noop++
			default:
				answer.Applied++
			}
			answer.IDs = append(answer.IDs, letters[i].Operation)
		}
	}
	status := http.StatusOK
	if temporary > 0 && temporary == len(letters) {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaMemories)
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// pull hands out a page.
func (h *handler) pull(w http.ResponseWriter, r *http.Request) {
	m := memberFrom(r.Context())
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, TagMethod, nil)
		return
	case h.in.Pull == nil:
		refuse(w, http.StatusNotFound, TagNoPull, nil)
		return
	}
	q := r.URL.Query()
	query := PullQuery{Peer: m.clone(), Cursor: q.Get("cursor"), Limit: maxBatch, Bytes: maxBatchBytes}
	if m.Wire == signer.WireAIMemory {
		query.Cursor = q.Get("since")
	}
	if len(query.Cursor) > maxCursor {
		refuse(w, http.StatusBadRequest, TagCursor, nil)
		return
	}
	page, err := h.page(r.Context(), query)
	switch {
	case errors.Is(err, ErrCursor):
		refuse(w, http.StatusBadRequest, TagCursor, err)
		return
	case err != nil:
		h.f.events.emit(Event{Kind: EventReceived, Peer: m.Name, Err: err, Detail: "a page could not be handed out"})
		refuse(w, http.StatusServiceUnavailable, TagPullFault, err)
		return
	}
	if m.Wire == signer.WireAIMemory {
		memories := make([]json.RawMessage, len(page.Messages))
		for i, p := range page.Messages {
			memories[i] = p.Body
		}
		writeJSON(w, http.StatusOK, map[string]any{"memories": memories})
		return
	}
	letters := make([]*letter, len(page.Messages))
	for i, p := range page.Messages {
		letters[i] = &letter{Message: p.Message, created: p.Created}
	}
	w.Header()["Content-Type"] = []string{mediaPage}
	_, _ = w.Write(encodePage(letters, page.Next, page.More))
}

// page asks the application, and checks that what it returns can travel.
func (h *handler) page(ctx context.Context, q PullQuery) (page Page, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the application panicked: %.200v", p)
		}
	}()
	page, err = h.in.Pull(ctx, q)
	if err != nil {
		return page, err
	}
	if len(page.Messages) > maxBatch || len(page.Next) > maxCursor {
		return page, fmt.Errorf("the application returned %d messages and a cursor of %d bytes, at most %d and %d", len(page.Messages), len(page.Next), maxBatch, maxCursor)
	}
	if page.More && (page.Next == "" || page.Next == q.Cursor) && q.Peer.Wire == signer.WireFederation {
		return page, fmt.Errorf("the application says that there is more after %.80q and gives cursor %.80q for it", q.Cursor, page.Next)
	}
	total := 0
	for i := range page.Messages {
		p := &page.Messages[i]
		if p.Operation == "" {
			return page, fmt.Errorf("message %d of a page has no operation id", i)
		}
		if p.Message, err = p.Message.validate(q.Peer.Wire == signer.WireAIMemory); err != nil {
			return page, err
		}
		if p.Created.UnixMilli() <= 0 {
			p.Created = time.Now()
		}
		total += len(p.Body)
	}
	if total > maxBatchBytes && len(page.Messages) > 1 {
		return page, fmt.Errorf("the application returned %d bytes in %d messages, at most %d", total, len(page.Messages), maxBatchBytes)
	}
	return page, nil
}
