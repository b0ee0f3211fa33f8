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

// component is a line of the signature base: an identifier as in the covered components, and its value.
type component struct{ id, value string }

// message is what the profiles cover, in canonical form.
type message struct {
	method, authority, path, query string
	contentType, digest            string // of the profile with a body
	to, op                         string
	body                           bool
}

// appendBase appends the signature base of RFC 9421 section 2.5. params is the value of
// @signature-params.
func appendBase(b []byte, components []component, params string) []byte {
	for i := range components {
		b = append(b, '"')
		b = append(b, components[i].id...)
		b = append(b, `": `...)
		b = append(b, components[i].value...)
		b = append(b, '\n')
	}
	b = append(b, `"@signature-params": `...)
	return append(b, params...)
}

// baseRoom holds the signature base of an ordinary message.
const baseRoom = 1 << 10

// appendBase appends the signature base of a message under its profile.
func (m *message) appendBase(b []byte, params string) []byte {
	var all [8]component
	c := append(all[:0],
		component{"@method", m.method},
		component{"@authority", m.authority},
		component{"@path", m.path},
		component{"@query", m.query})
	if m.body {
		c = append(c,
			component{"content-type", m.contentType},
			component{"content-digest", m.digest})
	}
	c = append(c,
		component{"federation-to", m.to},
		component{"federation-op", m.op})
	return appendBase(b, c, params)
}
