// Package file provides trust, identity and signing key from files, and follows them when they change.
//
//	fed, err := sdk.Builder{
//		Trust:    &file.Trust{Path: "ca.pem"},
//		Identity: &file.Identity{Cert: "node.pem", Key: "node-key.pem"},
//		Key:      &file.Key{Path: "node.ed25519"},
//		…
//	}.Build(ctx)
//
// The three types are structs of named fields. Nothing is opened before the first pull, and nothing is held
// open between pulls. Every pull reads the files; what is costly (parsing, decryption) is done again only when
// they differ. A pull returns files that were read whole and that belong together, or an error that names the
// file and the cure:
//
//   - A file that changed while it was read, or less than Settle ago, is read again until it is left alone.
//   - A PEM block without an end, or anything that does not parse, is sdk.ErrMaterial: sdk keeps what it
//     had and asks again.
//   - A certificate and a key that do not match, as when one was replaced before the other, are
//     sdk.ErrMaterial too.
//
// Watch sees files renamed over, written in place, and swapped through symbolic links, as Kubernetes mounts
// secrets and certbot keeps certificates. It watches the folders on the way to each file and, since network
// file systems tell nobody of their changes, reads the files every Poll as well.
//
// Missing files are sdk.ErrNotFound, those that may not be read sdk.ErrPermission. No error, and no line of
// log, holds any byte of a file.
//
// The package never writes a file, never enrols, and reads no environment.
package file
