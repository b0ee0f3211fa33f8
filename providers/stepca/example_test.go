package stepca_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alphaonedev/federation/providers/stepca"
	"github.com/alphaonedev/federation/sdk"
)

const fingerprint = "8b27a1f0c2d4e6f8091b2d3f4a5c6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f"

func provisionerPassword(context.Context) ([]byte, error) { return os.ReadFile("/run/secrets/nodes") }

func ExampleNew() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000", Fingerprint: fingerprint})
	defer ca.Close()
	fmt.Println(ca.Validate())

	wrong := stepca.New(stepca.Config{URL: "http://ca.example", Fingerprint: fingerprint})
	fmt.Println(errors.Is(wrong.Validate(), sdk.ErrConfig))
	// Output:
	// <nil>
	// true
}

func ExampleClient_Trust() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000", Fingerprint: fingerprint})
	defer ca.Close()
	own := ca.Trust(stepca.TrustConfig{CRL: stepca.CRLRequired})
	partners := ca.Trust(stepca.TrustConfig{Scope: stepca.Federated}) // for the Trust of their peers
	fmt.Println(own.Validate(), partners.Validate())
	// Output: <nil> <nil>
}

func ExampleClient_Identity() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000", Fingerprint: fingerprint, StateDir: "/var/lib/node/stepca"})
	defer ca.Close()
	identity := ca.Identity(stepca.IdentityConfig{
		Names:     []string{"a.example", "spiffe://example/a"},
		Enrolment: stepca.JWK{Provisioner: "nodes", Password: provisionerPassword},
		Rekey:     true,
	})
	fmt.Println(identity.Validate())
	// Output: <nil>
}

func ExampleClient_Key() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000", Fingerprint: fingerprint, StateDir: "/var/lib/node/stepca"})
	defer ca.Close()
	identity := ca.Identity(stepca.IdentityConfig{
		Names:     []string{"a.example"},
		Enrolment: stepca.ACME{Solver: stepca.TLSALPN01{}},
	})
	key := ca.Key(stepca.KeyConfig{ // the node's certificate vouches for its signing key
		Names:     []string{"a.example"},
		Enrolment: stepca.X5C{Provisioner: "vouchers", From: identity},
	})
	fmt.Println(key.Validate())
	// Output: <nil>
}

func ExampleTokenFunc() {
	ca := stepca.New(stepca.Config{URL: "https://ca.example:9000", Fingerprint: fingerprint})
	defer ca.Close()
	identity := ca.Identity(stepca.IdentityConfig{
		Enrolment: stepca.TokenFunc(func(context.Context, stepca.TokenRequest) (string, error) {
			token, err := os.ReadFile("/var/run/secrets/tokens/step-ca") // of a Kubernetes service account, say
			return string(token), err
		}),
	})
	fmt.Println(identity.Validate())
	// Output: <nil>
}
