package transport

import "context"

// A Lane is one of two sets of connections to a peer. They never share a connection, so that a large
// transfer does not stand in the way of a small urgent one.
type Lane uint8

const (
	// Quorum is the lane of small messages that somebody waits for. The default.
	Quorum Lane = iota
	// Bulk is the lane of large transfers.
	Bulk

	lanes = 2
)

// String returns "quorum" or "bulk".
func (l Lane) String() string {
	if l == Bulk {
		return "bulk"
	}
	return "quorum"
}

type (
	laneKey      struct{}
	operationKey struct{}
)

// WithLane sends the requests made with the returned context on lane l.
func WithLane(ctx context.Context, l Lane) context.Context {
	return context.WithValue(ctx, laneKey{}, l)
}

// WithOperation says that a request made with the returned context carries out the operation id, and that
// the peer makes one of two requests with the same id. Such a request may be written more than once: when
// its connection dies, and when it hears nothing for three times its peer's usual time. Each writing is a new
// attempt, prepared (signed) anew. Its body must be absent or come with Request.GetBody, otherwise the id has
// no effect. An empty id takes the permission back.
func WithOperation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, operationKey{}, id)
}

// Operation returns the id given to WithOperation, or "".
func Operation(ctx context.Context) string {
	id, _ := ctx.Value(operationKey{}).(string)
	return id
}

func laneOf(ctx context.Context) Lane {
	if l, ok := ctx.Value(laneKey{}).(Lane); ok && l < lanes {
		return l
	}
	return Quorum
}
