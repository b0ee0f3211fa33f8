// Package stepcaplugin makes the providers of package stepca from a plugin's settings. The command
// providers/stepca/cmd/federation-stepca serves it; a node that opens the plugin has none of step-ca's packages in its own
// binary.
//
//	p, err := plugin.Open(ctx, plugin.Config{
//		Path: "/usr/libexec/federation-stepca", SHA256: "…",
//		Settings: map[string]string{
//			"url": "https://ca.example:9000", "fingerprint": "8b27…", "state-dir": "/var/lib/node/stepca",
//			"names": "a.example", "provisioner": "nodes", "key-x5c-provisioner": "vouchers",
//		},
//		Secrets: map[string]plugin.Secret{"password": password},
//	})
//
// It reads nothing but those settings: no environment, no files but those under state-dir.
package stepcaplugin
