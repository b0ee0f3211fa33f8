package plugin_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/plugin"
)

func ExampleOpen() {
	ctx := context.Background()
	p, err := plugin.Open(ctx, plugin.Config{
		Path:     "/usr/libexec/our-pki",
		SHA256:   "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Settings: map[string]string{"url": "https://pki.example"},
		Secrets:  map[string]plugin.Secret{"token": "…"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	identity, err := p.Identity()
	if err != nil {
		log.Fatal(err) // the plugin has no such role
	}
	id, err := identity.Identity(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id.Certificate.Leaf.DNSNames)
}

func ExampleServe() {
	plugin.Serve(func(ctx context.Context, s plugin.Settings) (plugin.Providers, error) {
		if err := s.Only("url", "token"); err != nil {
			return plugin.Providers{}, err
		}
		plugin.Logger(ctx).Info("configured", "url", s.Values["url"])
		trust := trustFunc(func(ctx context.Context) (*sdk.TrustBundle, error) {
			return nil, fmt.Errorf("fetch the roots from %s: %w", s.Values["url"], sdk.ErrUnavailable)
		})
		return plugin.Providers{Trust: trust}, nil
	})
}

func ExampleSecret() {
	token := plugin.Secret("correct horse")
	fmt.Println("token:", token)
	fmt.Printf("%+v %q\n", token, token)
	fmt.Println(len(string(token)))
	// Output:
	// token: [secret]
	// [secret] [secret]
	// 13
}
