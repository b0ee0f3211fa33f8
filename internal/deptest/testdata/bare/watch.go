//go:build watch

package main

import (
	"fmt"

	"github.com/fsnotify/fsnotify"
)

// What files that are watched need.
func init() {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(w.Add("."), <-w.Events)
}
