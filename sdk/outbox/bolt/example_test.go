package bolt_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alphaonedev/federation/sdk/outbox"
	"github.com/alphaonedev/federation/sdk/outbox/bolt"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := bolt.Open(filepath.Join(dir, "outbox.db"), bolt.Options{
		OnCorrupt: func(kept string, err error) { fmt.Println("damaged, kept as", kept, err) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	// Federation.Push does this; a store can be looked into by itself too.
	body := []byte("ten bolts")
	m := outbox.Message{Operation: "order-17", Body: body, Digest: sha256.Sum256(body), Created: time.Now()}
	if _, err := store.Append(context.Background(), m, []string{"https://b.example", "https://c.example"}); err != nil {
		fmt.Println(err)
	}
	stats, err := store.Stats(context.Background())
	for _, s := range stats {
		fmt.Println(s.Peer, s.Depth, s.Bytes, err)
	}
	// Output:
	// https://b.example 1 9 <nil>
	// https://c.example 1 9 <nil>
}
