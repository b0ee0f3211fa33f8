package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/alphaonedev/federation/signer"
	"github.com/alphaonedev/federation/transport"
)

// take stores a note that a peer has written. fed.Verify has checked who sent it and that it is whole.
func (n *node) take(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes[r.PathValue("operation")] = string(text)
	w.WriteHeader(http.StatusNoContent)
}

// mount adds what writes need: peers take notes, and find the key that signed them.
func (n *node) mount(mux *http.ServeMux) {
	mux.Handle("GET "+signer.DirectoryPath, n.fed.KeyDirectory())
	mux.Handle("POST /notes/{operation}", n.fed.Verify(http.HandlerFunc(n.take)))
}

// write stores a note here and at every peer, and returns how many nodes have it.
func (n *node) write(ctx context.Context, text string) (acks int, failures []string) {
	operation := rand.Text()
	n.mu.Lock()
	n.notes[operation] = text
	n.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	acks = 1
	for _, p := range n.fed.Peers() {
		wg.Go(func() {
			err := n.send(transport.WithOperation(ctx, operation), p.URL+"/notes/"+operation, text)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, fmt.Sprintf("%s: %v", p.Name, bare(err)))
				return
			}
			acks++
		})
	}
	wg.Wait()
	return acks, failures
}

func (n *node) send(ctx context.Context, url, text string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain")
	resp, err := n.fed.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}

// bare leaves out the URL, which tells a reader of the account nothing.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
