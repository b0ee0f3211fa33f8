package stepcatest

import (
	"io"
	"log"
)

var quiet = log.New(io.Discard, "", 0)

// config is the CA's ca.json.
func (ca *CA) config() map[string]any {
	claims := map[string]any{"minTLSCertDuration": "1s", "maxTLSCertDuration": "72h", "defaultTLSCertDuration": "24h"}
	for k, v := range ca.Claims {
		claims[k] = v
	}
	cfg := map[string]any{
		"address":  ca.Addr,
		"dnsNames": []string{"localhost", "127.0.0.1"},
		"authority": map[string]any{
			"provisioners": ca.Provisioners,
			"claims":       claims,
			"backdate":     ca.options.Backdate.String(),
		},
	}
	if ca.options.Database || ca.options.CRL {
		cfg["db"] = map[string]any{"type": "bbolt", "dataSource": ca.Database()}
	}
	if ca.options.CRL {
		cfg["crl"] = map[string]any{"enabled": true, "generateOnRevoke": true, "cacheDuration": "24h"}
	}
	return cfg
}
