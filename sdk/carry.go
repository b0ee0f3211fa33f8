package sdk

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

var _ carrier = (*Federation)(nil)

// maxAnswer bounds what is read of an answer to a batch.
const maxAnswer = 512 << 10

// knows implements carrier. The ai-memory wire has no streams, so that one batch follows another there.
func (f *Federation) knows(peerID string) (ok bool, width int) {
	m := f.state.Load().byID[peerID]
	if m == nil {
		return false, 0
	}
	if m.Wire == signer.WireAIMemory {
		return true, 1
	}
	return true, maxWidth
}

// carry implements carrier: one request with a batch, signed and sent on the shared transport.
func (f *Federation) carry(ctx context.Context, peerID string, letters []*letter, t turn, lane transport.Lane) answer {
	m := f.state.Load().byID[peerID]
	if m == nil {
		return answer{whole: reply{kind: quorum.Unsent, err: errLeft}}
	}
	content := contentOf(m.Wire, letters, t)
	ctx = withContent(transport.WithOperation(transport.WithLane(ctx, lane), batchOperation(letters)), content)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.PushURL(), nil)
	if err != nil {
		return answer{whole: reply{kind: quorum.Unsent, err: err}}
	}
	content.Attach(req)
	media := mediaBatch
	if m.Wire == signer.WireAIMemory {
		media = mediaMemories
	}
	req.Header["Content-Type"] = []string{media}
	resp, err := roundTripper{f}.RoundTrip(req)
	if err != nil {
		kind := quorum.Unknown
		if transport.Unsent(err) {
			kind = quorum.Unsent
		}
		return answer{whole: reply{kind: kind, err: err}}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return refusalOf(resp)
	case err != nil:
		return answer{whole: reply{kind: quorum.Unknown, err: fmt.Errorf("the answer broke off: %w", err)}}
	case len(body) > maxAnswer:
		return answer{whole: reply{kind: quorum.Unknown, err: fmt.Errorf("an answer of more than %d bytes", maxAnswer)}}
	case m.Wire == signer.WireAIMemory:
		return judgeMemories(letters, body, tlsIdentity(m, resp.TLS))
	}
	if got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); got != mediaAnswer {
		return answer{whole: reply{kind: quorum.Unknown, err: fmt.Errorf("an answer of type %.80q, which acks nothing", got)}}
	}
	replies, err := parseAnswer(body, len(letters))
	if err != nil {
		return answer{whole: reply{kind: quorum.Unknown, err: err}}
	}
	return answer{replies: f.judge(ctx, m, letters, replies, tlsIdentity(m, resp.TLS))}
}

// batchOperation is the id under which a request may be repeated: that of its message, or one made of those of
// all its messages.
func batchOperation(letters []*letter) string {
	if len(letters) == 1 {
		return letters[0].Operation
	}
	h := sha256.New()
	for _, l := range letters {
		_, _ = io.WriteString(h, l.Operation)
		_, _ = h.Write([]byte{0})
	}
	return "batch:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// tlsIdentity is who answered, as TLS proved it.
func tlsIdentity(m *member, cs *tls.ConnectionState) string {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return "plaintext:" + m.ID
	}
	return spkiOf(cs.PeerCertificates[0].RawSubjectPublicKeyInfo)
}

func spkiOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// spki is the identity of this node in TLS.
func (i *identity) spki() string {
	if i == nil {
		return ""
	}
	return spkiOf(i.leaf().RawSubjectPublicKeyInfo)
}

// refusalOf reads what a status other than 200 says.
func refusalOf(resp *http.Response) answer {
	a := answer{whole: reply{kind: quorum.Refused, err: refused(resp)}}
	if resp.StatusCode/100 == 2 { // no refusal, and no ack
		a.whole = reply{kind: quorum.Unknown, err: fmt.Errorf("status %d, which acks nothing", resp.StatusCode)}
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		// Somebody in between does not know either.
		a.whole.kind, a.whole.err = quorum.Unknown, fmt.Errorf("%w: %w", a.whole.err, ErrUnavailable)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		a.content, a.whole.final = true, true
	case http.StatusInternalServerError:
		a.content = true
	}
	a.after = retryAfter(resp.Header, time.Now())
	return a
}

// maxRetryAfter is the longest pause that a peer may ask for.
const maxRetryAfter = time.Minute

// retryAfter reads how long a peer asks to be left alone (RFC 9110, section 10.2.3): seconds, or a date by its own clock,
// which the answer's Date shows.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(s, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

var errNotOurs = errors.New("the ack is about something else")

// judge decides, for each message, whether what the peer answered is an ack of it.
func (f *Federation) judge(ctx context.Context, m *member, letters []*letter, answers []wireReply, tlsID string) []reply {
	replies := make([]reply, len(letters))
	var acks []*quorum.Ack
	var at []int
	for i, a := range answers {
		switch a.state {
		case stateAcked:
			if err := f.matches(m, letters[i], a.ack); err != nil {
				replies[i] = reply{kind: quorum.Drifted, ack: a.ack, err: err}
				continue
			}
			replies[i] = reply{kind: quorum.Acked, verdict: a.ack.Verdict, ack: a.ack, identity: quorum.Identity{TLS: tlsID}}
			if a.ack.Proof != nil {
				replies[i].identity.Key = a.ack.Proof.KeyID
				acks, at = append(acks, a.ack), append(at, i)
			} else if f.mustBeSigned(m) {
				replies[i] = reply{kind: quorum.Unknown, err: quorum.ErrUnsigned}
			}
		case stateTemporary:
			replies[i] = reply{kind: quorum.Refused, err: fmt.Errorf("not taken for now: %q", a.reason)}
		case statePermanent:
			replies[i] = reply{kind: quorum.Refused, final: true, err: fmt.Errorf("not taken: %q", a.reason)}
		case stateConflict:
			replies[i] = reply{kind: quorum.Refused, final: true, conflict: true, err: fmt.Errorf("the peer knows the operation with another digest: %q", a.reason)}
		}
	}
	for j, err := range quorum.VerifyAcks(acks, func(_, keyID string) (ed25519.PublicKey, error) { return f.peerKey(ctx, m, keyID) }) {
		if err != nil {
			replies[at[j]] = reply{kind: quorum.Unknown, err: err}
		}
	}
	return replies
}

// matches reports how an ack differs from what was sent.
func (f *Federation) matches(m *member, l *letter, a *quorum.Ack) error {
	switch {
	case a.Operation != l.Operation:
		return fmt.Errorf("%w: operation %q", errNotOurs, a.Operation)
	case a.Digest != l.digest:
		return fmt.Errorf("%w: digest %v", errNotOurs, a.Digest)
	case a.Sender != l.sender:
		return fmt.Errorf("%w: sender %.80q", errNotOurs, a.Sender)
	case a.Proof != nil && a.Recipient != m.audience() && !slices.Contains(m.IDs, a.Recipient):
		return fmt.Errorf("%w: recipient %.80q", errNotOurs, a.Recipient)
	}
	return nil
}

// peerKey finds the key that a peer signed an ack with.
func (f *Federation) peerKey(ctx context.Context, m *member, keyID string) (ed25519.PublicKey, error) {
	pub, err := f.directory.Key(ctx, m.Name, keyID)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", quorum.ErrUnknownKey, err)
	}
	if err == nil && f.distrustsKey(&signer.Verified{Key: pub, KeyID: keyID}) {
		return nil, fmt.Errorf("%w: it is distrusted", quorum.ErrUnknownKey)
	}
	return pub, err
}
