//go:build unix

package plugin

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/alphaonedev/federation/internal/fault"
)

// The path was a program when it was looked at, and is a named pipe when it is opened.
func TestANamedPipeInPlaceOfTheProgramEndsTheStart(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "plugin")
	if err := unix.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	digest := strings.Repeat("0", 64)
	for name, look := range map[string]func(*image) error{
		"pinned":      func(im *image) error { return im.fill(&Config{Path: pipe, SHA256: digest}) },
		"unpinned":    func(im *image) error { return im.fill(&Config{Path: pipe, Unpinned: true}) },
		"interpreter": func(im *image) error { return im.pinInPlace(&Config{Path: pipe, SHA256: digest}) },
	} {
		ended := make(chan error, 1)
		go func() { ended <- look(&image{}) }()
		select {
		case err := <-ended:
			if !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), "no regular file") {
				t.Errorf("%s: %v, want ErrConfig that says what it is", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it waits for somebody to write into the pipe", name)
			if fd, err := unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				unix.Close(fd)
			}
			<-ended
		}
	}
}
