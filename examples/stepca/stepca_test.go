package main

import "testing"

func TestTheStoryHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("lives through several lives of certificates")
	}
	if err := run(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}
