package signer

// The label, the tag and the covered components of the two profiles. They are compared as strings: a
// signature of ours has exactly one form.
const (
	sigLabel   = "sig="
	profileTag = "federation-v1"

	componentsBody   = `("@method" "@authority" "@path" "@query" "content-type" "content-digest" "federation-to" "federation-op")`
	componentsNoBody = `("@method" "@authority" "@path" "@query" "federation-to" "federation-op")`

	// noOperation stands in Federation-Op of a message that must not be repeated under an id.
	noOperation = "-"
)

// message is what the profiles cover, in canonical form.
type message struct {
	method, authority, path, query string
	contentType, digest            string // of the profile with a body
	to, op                         string
	body                           bool
}

// baseRoom holds the signature base of an ordinary message.
const baseRoom = 1 << 10

// appendBase appends the signature base of a message under its profile (RFC 9421 section 2.5). params is
// the value of @signature-params.
func (m *message) appendBase(b []byte, params string) []byte {
	b = appendLine(b, `"@method": `, m.method)
	b = appendLine(b, `"@authority": `, m.authority)
	b = appendLine(b, `"@path": `, m.path)
	b = appendLine(b, `"@query": `, m.query)
	if m.body {
		b = appendLine(b, `"content-type": `, m.contentType)
		b = appendLine(b, `"content-digest": `, m.digest)
	}
	b = appendLine(b, `"federation-to": `, m.to)
	b = appendLine(b, `"federation-op": `, m.op)
	return appendParams(b, params)
}

// appendLine appends the line of one component: head is its identifier, quoted, with the colon after it.
func appendLine(b []byte, head, value string) []byte {
	b = append(b, head...)
	b = append(b, value...)
	return append(b, '\n')
}

func appendParams(b []byte, params string) []byte {
	b = append(b, `"@signature-params": `...)
	return append(b, params...)
}
