package sdk

import (
	"net/url"
	"testing"
)

func TestEverySpellingOfAnOriginIsOne(t *testing.T) {
	for spelled, want := range map[string]string{
		"https://B.Example./x":               "https://b.example",
		"https://b.example:443":              "https://b.example:443/",
		"https://b.example:":                 "https://b.example",
		"http://b.example:80":                "http://b.example",
		"https://[::FFFF:10.0.0.1]:9077":     "https://10.0.0.1:9077",
		"https://[2001:DB8:0:0:0:0:0:1]/fed": "https://[2001:db8::1]:443",
	} {
		a, err := url.Parse(spelled)
		if err != nil {
			t.Fatal(err)
		}
		b, err := url.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		if origin(a) != origin(b) {
			t.Errorf("%s is of %s, want that of %s, %s", spelled, origin(a), want, origin(b))
		}
	}
	for _, other := range []string{"http://b.example", "https://b.example:444", "https://c.example"} {
		u, _ := url.Parse(other)
		if b, _ := url.Parse("https://b.example"); origin(u) == origin(b) {
			t.Errorf("%s is of %s", other, origin(u))
		}
	}
}
