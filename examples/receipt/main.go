// Command receipt is a third party that checks a receipt: it has no connection to the federation, only the
// keys that the nodes had.
//
//	receipt -writes 2 -key a.example=KEY -key b.example=KEY receipt.bin message.json
//
// KEY is a public key, the raw 32 bytes in base64url without padding, as "x" in a node's key directory. The second
// file is the message that the receipt is about. Exit status 0 means that it holds.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/alphaonedev/federation/sdk/quorum"
)

func main() {
	log.SetFlags(0)
	keys := quorum.Keys{Of: map[string][]ed25519.PublicKey{}}
	flag.IntVar(&keys.Writes, "writes", 0, "how many nodes must have signed; 0 takes the receipt's word")
	flag.Func("key", "node=KEY; a node may have several", func(s string) error {
		node, text, ok := strings.Cut(s, "=")
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if !ok || err != nil || len(raw) != ed25519.PublicKeySize {
			return errors.New("want node=KEY, with a key of 43 characters of base64url")
		}
		keys.Of[node] = append(keys.Of[node], raw)
		return nil
	})
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := check(flag.Arg(0), flag.Arg(1), keys); err != nil {
		log.Fatal(err)
	}
}

func check(receiptFile, messageFile string, keys quorum.Keys) error {
	encoded, err := os.ReadFile(receiptFile)
	if err != nil {
		return err
	}
	message, err := os.ReadFile(messageFile)
	if err != nil {
		return err
	}
	receipt, err := quorum.ParseReceipt(encoded)
	if err != nil {
		return err
	}
	if digest := quorum.DigestOf(message); digest != receipt.Digest {
		return fmt.Errorf("the receipt is about another message: its digest is %v, that of %s is %v", receipt.Digest, messageFile, digest)
	}
	if err := quorum.Verify(receipt, keys); err != nil {
		return err
	}
	fmt.Printf("operation %s of %s is at %d nodes:\n", receipt.Operation, receipt.Sender, len(receipt.Acks))
	for _, a := range receipt.Acks {
		fmt.Printf("  %s %v it on %s\n", a.Recipient, a.Verdict, a.Time.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	return nil
}
