package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
)

func ExampleFederation_Push() {
	push := func(ctx context.Context, fed *sdk.Federation, body []byte) error {
		result, err := fed.Push(ctx, sdk.Message{Operation: "order-17", Body: body, ContentType: "application/json"})
		var not *quorum.NotMetError
		switch {
		case errors.As(err, &not):
			// Nothing is undone: the outbox goes on bringing the message to the peers.
			fmt.Println(not.Got, "of", not.Need, not.Reason)
			return err
		case err != nil:
			return err
		}
		fmt.Println(result.Acked, "of", result.N, "nodes have it")
		return nil
	}
	_ = push
	// Output:
}

// exactlyOnce is an application that keeps the operation id of each message with its data.
func exactlyOnce(db *bbolt.DB) func(context.Context, sdk.Delivery) (quorum.Verdict, error) {
	return func(_ context.Context, d sdk.Delivery) (verdict quorum.Verdict, err error) {
		err = db.Update(func(tx *bbolt.Tx) error {
			seen, data := tx.Bucket([]byte("seen")), tx.Bucket([]byte("data"))
			key := []byte(d.Peer.ID + "\x00" + d.Operation)
			switch known := seen.Get(key); {
			case known == nil:
				verdict = sdk.Applied
			case bytes.Equal(known, d.Digest[:]):
				verdict = sdk.Noop
				return nil
			default:
				return sdk.Permanent("the operation id is known with another body")
			}
			if err := data.Put([]byte(d.Operation), d.Body); err != nil {
				return err
			}
			return seen.Put(key, d.Digest[:])
		})
		return verdict, err
	}
}

func ExampleFederation_Handler() {
	serve := func(fed *sdk.Federation, apply func(context.Context, sdk.Delivery) (quorum.Verdict, error)) *http.Server {
		return fed.Server(fed.Handler(sdk.Inbound{Apply: apply}))
	}
	_ = serve
	// Output:
}

// A message is applied once, although the process dies between applying it and answering: the operation id is on the
// disk with the data.
func ExampleFederation_Handler_exactlyOnce() {
	dir, err := os.MkdirTemp("", "once")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	open := func() *bbolt.DB {
		db, err := bbolt.Open(filepath.Join(dir, "app.db"), 0o600, nil)
		if err != nil {
			panic(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte("seen"))
			_, err2 := tx.CreateBucketIfNotExists([]byte("data"))
			return errors.Join(err, err2)
		})
		if err != nil {
			panic(err)
		}
		return db
	}
	d := sdk.Delivery{
		Message: sdk.Message{Operation: "order-17", Body: []byte("ten bolts")},
		Peer:    sdk.Peer{ID: "a.example"}, Digest: quorum.DigestOf([]byte("ten bolts")),
	}
	db := open()
	fmt.Println(exactlyOnce(db)(context.Background(), d)) // and here the process dies
	db.Close()

	db = open()
	defer db.Close()
	fmt.Println(exactlyOnce(db)(context.Background(), d))
	d.Digest = quorum.DigestOf([]byte("eleven bolts"))
	_, err = exactlyOnce(db)(context.Background(), d)
	fmt.Println(err)
	// Output:
	// applied <nil>
	// noop <nil>
	// rejected: the operation id is known with another body
}
