package signer

import (
	"strings"
	"testing"
)

func TestAuthorityHasOneForm(t *testing.T) {
	for _, c := range []struct{ host, scheme, want string }{ // want "": refused
		{"b.example", "https", "b.example"},
		{"B.Example", "https", "b.example"},
		{"b.example:443", "https", "b.example"},
		{"b.example:80", "https", "b.example:80"},
		{"b.example:80", "http", "b.example"},
		{"b.example:443", "http", "b.example:443"},
		{"b.example:", "https", "b.example"},
		{"b.example.", "https", "b.example."},
		{"b.example:9077", "https", "b.example:9077"},
		{"10.0.0.1:443", "https", "10.0.0.1"},
		{"[::1]", "https", "[::1]"},
		{"[2001:DB8::1]:443", "https", "[2001:db8::1]"},
		{"[2001:DB8::1]:9077", "https", "[2001:db8::1]:9077"},
		{"xn--bcher-kva.example", "https", "xn--bcher-kva.example"},
		{"", "https", ""},
		{":443", "https", ""},
		{"bücher.example", "https", ""},
		{"user@b.example", "https", ""},
		{"b.example/", "https", ""},
		{"b example", "https", ""},
		{"b.example\n", "https", ""},
		{"b.example:0443", "https", ""},
		{"b.example:443:443", "https", ""},
		{"b.example:999999", "https", ""},
		{"b.example:x", "https", ""},
		{"::1", "https", ""},
		{"[::1", "https", ""},
		{"[::1]x:443", "https", ""},
		{"x[::1]", "https", ""},
		{"[fe80::1%25eth0]", "https", ""},
		{"[[::1]]", "https", ""},
		{"[]", "https", ""},
		{"[:]", "https", ""},
		{strings.Repeat("a", maxAuthority+1), "https", ""},
	} {
		got, ok := canonicalAuthority(c.host, c.scheme)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q over %s: got %q %v, want %q", c.host, c.scheme, got, ok, c.want)
		}
	}
}

func TestTargetHasOneForm(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{ // path "": refused
		{"/", "/", "?"},
		{"/a", "/a", "?"},
		{"/a?b=c", "/a", "?b=c"},
		{"/a?b?c", "/a", "?b?c"},
		{"/a??", "/a", "??"},
		{"/a%2Fb", "/a%2Fb", "?"},
		{"/a%2fb", "/a%2fb", "?"},
		{"//a", "//a", "?"},
		{"/./a/../b", "/./a/../b", "?"},
		{"/a?", "", ""},
		{"", "", ""},
		{"*", "", ""},
		{"a", "", ""},
		{"http://b.example/a", "", ""},
		{"/a b", "", ""},
		{"/a#b", "", ""},
		{"/a?b#c", "", ""},
		{"/ä", "", ""},
		{"/a\n", "", ""},
		{"/a?b\tc", "", ""},
		{"/" + strings.Repeat("a", maxTarget), "", ""},
	} {
		path, query, ok := splitTarget(c.target)
		if path != c.path || query != c.query || ok != (c.path != "") {
			t.Errorf("%.40q: got %q %q %v, want %q %q", c.target, path, query, ok, c.path, c.query)
		}
	}
}

func TestNoMethodWithoutAPathIsSigned(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "POST": true, "M-SEARCH": true, "get": true, "": false, "CONNECT": false, "GE T": false, "GET\n": false,
		"GÉT": false, strings.Repeat("A", maxMethod+1): false, "A\"": false,
	} {
		if got := validMethod(method); got != want {
			t.Errorf("%q: got %v", method, got)
		}
	}
}
