package main

import (
	"context"
	"fmt"

	"github.com/alphaonedev/federation/internal/stepcatest"
)

// A certAuthority is a step-ca that can go away. In earnest it runs elsewhere, and a node needs its URL and Fingerprint alone.
type certAuthority struct {
	*stepcatest.CA
	command string // path of step-ca; empty: in this process
	process *stepcatest.Process
}

func startCA(ctx context.Context, process bool) (*certAuthority, error) {
	ca, err := stepcatest.Start(stepcatest.Options{Name: "example", Intermediates: 2})
	if err != nil {
		return nil, err
	}
	c := &certAuthority{CA: ca}
	if !process {
		return c, nil
	}
	fmt.Println("building step-ca, unless that was done before")
	if c.command, err = stepcatest.Build(ctx); err == nil {
		err = ca.Stop()
	}
	if err == nil {
		err = c.start(ctx)
	}
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (c *certAuthority) start(ctx context.Context) (err error) {
	if c.command == "" {
		return c.CA.Start()
	}
	c.process, err = c.StartProcess(ctx, c.command)
	return err
}

func (c *certAuthority) stop() error {
	if c.process != nil {
		return c.process.Stop()
	}
	return c.CA.Stop()
}

func (c *certAuthority) end() {
	_ = c.stop()
	_ = c.Close()
}
