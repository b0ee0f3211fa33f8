package sdk

import "encoding/json"

// What holds an error is written to JSON with the error's text, which encoding/json leaves out by itself.

// MarshalJSON writes the status with Err and Partial as text, "" for none.
func (s MaterialStatus) MarshalJSON() ([]byte, error) {
	type plain MaterialStatus
	return json.Marshal(struct {
		plain
		Err, Partial string
	}{plain(s), text(s.Err), text(s.Partial)})
}

// MarshalJSON writes the status with OutboxErr as text, "" for none. Durations are in nanoseconds.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	return json.Marshal(struct {
		plain
		OutboxErr string
	}{plain(s), text(s.OutboxErr)})
}

// MarshalJSON writes the event with Err as text, "" for none.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	return json.Marshal(struct {
		plain
		Err string
	}{plain(e), text(e.Err)})
}

// MarshalJSON writes the problem with Err as text.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	return json.Marshal(struct {
		plain
		Err string
	}{plain(p), text(p.Err)})
}

// MarshalJSON writes the outcome with Err as text, "" for none.
func (o BulkOutcome) MarshalJSON() ([]byte, error) {
	type plain BulkOutcome
	return json.Marshal(struct {
		plain
		Err string
	}{plain(o), text(o.Err)})
}

// MarshalJSON writes the result with Err as text, "" for none.
func (r BulkResult) MarshalJSON() ([]byte, error) {
	type plain BulkResult
	return json.Marshal(struct {
		plain
		Err string
	}{plain(r), text(r.Err)})
}

// MarshalJSON writes the result with Err as text, "" for none.
func (r PullResult) MarshalJSON() ([]byte, error) {
	type plain PullResult
	return json.Marshal(struct {
		plain
		Err string
	}{plain(r), text(r.Err)})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
