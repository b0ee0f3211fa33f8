package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/alphaonedev/federation/sdk"
	"github.com/alphaonedev/federation/sdk/quorum"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// A write counts once a majority of three nodes has it.
func ExampleFederation_Push() {
	t := new(exampleTB) // in a test, the *testing.T
	defer t.end()
	fed := sdktest.Mesh(t, 3).Nodes[0] // in earnest, from Builder.Build

	result, err := fed.Push(context.Background(), sdk.Message{Operation: "order-17", Body: []byte("ten bolts"), ContentType: "text/plain"})
	var not *quorum.NotMetError
	switch {
	case errors.As(err, &not):
		// Nothing is undone: the outbox goes on bringing the message to the peers.
		fmt.Println(not.Got, "of", not.Need, not.Reason)
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("a quorum of", result.W, "of", result.N, "nodes has it; there is a receipt:", result.Receipt != nil)
	}
	// Output: a quorum of 2 of 3 nodes has it; there is a receipt: true
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

// The application takes what peers push. Who sent it, and that it is whole, has been checked.
func ExampleFederation_Handler() {
	t := new(exampleTB) // in a test, the *testing.T
	defer t.end()
	apply := func(_ context.Context, d sdk.Delivery) (quorum.Verdict, error) {
		fmt.Printf("%s from %s: %s\n", d.Operation, d.Peer.Name, d.Body)
		return sdk.Applied, nil
	}
	// Mesh serves, for each of its nodes, fed.Server(fed.Handler(sdk.Inbound{Apply: apply})).
	mesh := sdktest.Mesh(t, 2, sdktest.MeshOptions{Inbound: func(int) sdk.Inbound { return sdk.Inbound{Apply: apply} }})

	_, err := mesh.Nodes[1].Push(context.Background(), sdk.Message{Operation: "order-17", Body: []byte("ten bolts")})
	fmt.Println(err)
	// Output:
	// order-17 from node-1: ten bolts
	// <nil>
}

// An exampleTB stands where a *testing.T would be in a real test.
type exampleTB struct{ cleanups []func() }

func (*exampleTB) Helper()                           {}
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTB) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }

func (t *exampleTB) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
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
