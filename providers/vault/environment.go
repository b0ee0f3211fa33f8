package vault

import (
	"time"

	"github.com/alphaonedev/federation/internal/fault"
)

// ConfigFrom makes a Config of the variables that Vault's own tools know: VAULT_ADDR, VAULT_TOKEN,
// VAULT_NAMESPACE, VAULT_CACERT, VAULT_TLS_SERVER_NAME and VAULT_CLIENT_TIMEOUT (a Go duration). Pass
// os.Getenv to mean the process's environment; nothing else in this package looks at it.
func ConfigFrom(getenv func(string) string) (Config, error) {
	c := Config{
		Address:    getenv("VAULT_ADDR"),
		Namespace:  getenv("VAULT_NAMESPACE"),
		RootsFile:  getenv("VAULT_CACERT"),
		ServerName: getenv("VAULT_TLS_SERVER_NAME"),
	}
	if t := getenv("VAULT_TOKEN"); t != "" {
		c.Auth = &Token{Value: t}
	}
	if s := getenv("VAULT_CLIENT_TIMEOUT"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			return Config{}, &fault.ConfigError{Field: "VAULT_CLIENT_TIMEOUT", Err: err}
		}
		c.Timeout = d
	}
	return c, nil
}
