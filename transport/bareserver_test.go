package transport_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// bareServer runs a TLS server in a process of its own, so that its memory is not measured. It ends with stop.
func bareServer(b *testing.B, id *tls.Certificate) (addr string, stop func()) {
	b.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(),
		"TRANSPORT_BARE_CERT="+string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Certificate[0]})),
		"TRANSPORT_BARE_KEY="+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		b.Fatal(err)
	}
	return addr, func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

// serveBare is the other process. It reports false if this is none.
func serveBare() bool {
	if os.Getenv("TRANSPORT_BARE_CERT") == "" {
		return false
	}
	id, err := tls.X509KeyPair([]byte(os.Getenv("TRANSPORT_BARE_CERT")), []byte(os.Getenv("TRANSPORT_BARE_KEY")))
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("127.0.0.1:%d\n", l.Addr().(*net.TCPAddr).Port)
	cfg := &tls.Config{Certificates: []tls.Certificate{id}, ClientAuth: tls.RequestClientCert}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				tc := tls.Server(c, cfg)
				defer tc.Close()
				br := bufio.NewReader(tc)
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					_, _ = io.WriteString(tc, okAnswer)
				}
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}
