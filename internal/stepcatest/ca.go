package stepcatest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/smallstep/certificates/acme"
	acmeapi "github.com/smallstep/certificates/acme/api"
	acmedb "github.com/smallstep/certificates/acme/db/nosql"
	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	_ "github.com/smallstep/certificates/cas/softcas" // the signer that keeps its key in memory
	"github.com/smallstep/certificates/db"
	"github.com/smallstep/nosql"

	"github.com/alphaonedev/federation/internal/testport"
	"github.com/alphaonedev/federation/sdk/sdktest"
)

// Options describe a CA. The zero value has one intermediate, the provisioners of Provisioners, and no database.
type Options struct {
	Name          string // of the root; default "stepcatest"
	Intermediates int    // between root and leaf; default 1
	Claims        map[string]any
	Database      bool // needed for ACME and the CRL, and to remember used tokens across a restart
	CRL           bool
	Federated     []*x509.Certificate
	// Backdate of what is issued; default 0, so that short lives are what they say.
	Backdate time.Duration
	// Wrap goes around the CA's handler, to break what passes.
	Wrap func(http.Handler) http.Handler
}

// A CA is a step-ca on loopback. Its exported fields may be changed while it is stopped.
type CA struct {
	URL  string // https://localhost:port
	Addr string // 127.0.0.1:port

	Roots        []*sdktest.CA // what it publishes; the first is the one that Fingerprint names
	Issuer       *sdktest.CA   // what it issues with
	Provisioners []map[string]any
	Claims       map[string]any
	Federated    []*x509.Certificate

	// Requests counts what was asked, by "METHOD /path".
	Requests Counter

	options Options
	dir     string
	tokens  map[string]*provisionerKey

	mu     sync.Mutex
	auth   *authority.Authority
	server *http.Server
	done   chan struct{}
}

// Start makes a CA and starts it. The caller closes it.
func Start(o Options) (ca *CA, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("stepcatest: %v", p)
		}
	}()
	ca, err = prepare(o)
	if err != nil {
		return nil, err
	}
	if err := ca.Start(); err != nil {
		ca.Close()
		return nil, err
	}
	return ca, nil
}

func prepare(o Options) (*CA, error) {
	if o.Name == "" {
		o.Name = "stepcatest"
	}
	if o.Intermediates == 0 {
		o.Intermediates = 1
	}
	ca := &CA{options: o, Claims: o.Claims, Federated: o.Federated, tokens: map[string]*provisionerKey{}}
	root := sdktest.NewCA(must{}, sdktest.CAOptions{Name: o.Name + " root"})
	ca.Roots = []*sdktest.CA{root}
	ca.Issuer = ca.Below(root, o.Intermediates)
	dir, err := os.MkdirTemp("", "stepca")
	if err != nil {
		return nil, err
	}
	ca.dir = dir
	if err := ca.defaultProvisioners(); err != nil {
		return nil, err
	}
	if ca.Addr, err = testport.Pick(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(ca.Addr)
	ca.URL = "https://localhost:" + port
	return ca, nil
}

// must lets sdktest report by panic, which Start turns into an error.
type must struct{}

func (must) Helper() {}

func (must) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Below makes n intermediates under parent and returns the last.
func (ca *CA) Below(parent *sdktest.CA, n int) *sdktest.CA {
	for i := range n {
		parent = parent.Intermediate(must{}, sdktest.CAOptions{Name: fmt.Sprintf("%s intermediate %d", ca.options.Name, i+1)})
	}
	return parent
}

// Fingerprint is that of the first root, as `step certificate fingerprint` prints it.
func (ca *CA) Fingerprint() string {
	sum := sha256.Sum256(ca.Roots[0].Certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// Start starts a CA that was stopped, at the same address, with what its fields say.
func (ca *CA) Start() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	raw, err := json.Marshal(ca.config())
	if err != nil {
		return err
	}
	var cfg config.Config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return fmt.Errorf("stepcatest: the configuration: %w", err)
	}
	var roots []*x509.Certificate
	for _, r := range ca.Roots {
		roots = append(roots, r.Certificate)
	}
	server := ca.Issuer.Issue(must{}, sdktest.Leaf{
		DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().AddDate(5, 0, 0),
	})
	opts := []authority.Option{
		authority.WithConfig(&cfg), authority.WithQuietInit(), authority.WithX509RootCerts(roots...),
		authority.WithX509SignerChain(server.Chain[1:], ca.Issuer.Key),
	}
	if len(ca.Federated) > 0 {
		opts = append(opts, authority.WithX509FederatedCerts(append(roots, ca.Federated...)...))
	}
	if ca.auth, err = authority.NewEmbedded(opts...); err != nil {
		return fmt.Errorf("stepcatest: %w", err)
	}
	ctx := authority.NewContext(context.Background(), ca.auth)
	mux := chi.NewRouter()
	api.Route(mux)
	mux.Route("/1.0", func(r chi.Router) { api.Route(r) })
	if ca.options.Database {
		store := ca.auth.GetDatabase()
		adb, err := acmedb.New(store.(nosql.DB))
		if err != nil {
			return err
		}
		ctx = acme.NewContext(db.NewContext(ctx, store), adb, acme.NewClient(), acme.NewLinker(ca.URL[len("https://"):], "acme"), nil)
		mux.Route("/acme", func(r chi.Router) { acmeapi.Route(r) })
	}
	clients := x509.NewCertPool()
	for _, r := range roots {
		clients.AddCert(r)
	}
	l, err := net.Listen("tcp", ca.Addr)
	if err != nil {
		return err
	}
	var handler http.Handler = mux
	if ca.options.Wrap != nil {
		handler = ca.options.Wrap(handler)
	}
	ca.server = &http.Server{
		Handler:     ca.Requests.wrap(handler),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    quiet,
	}
	ca.done = make(chan struct{})
	l = tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*server.TLS},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients,
	})
	go func(s *http.Server, done chan struct{}) {
		defer close(done)
		_ = s.Serve(l)
	}(ca.server, ca.done)
	return nil
}

// Stop takes the CA down: connections are refused until Start.
func (ca *CA) Stop() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.server == nil {
		return nil
	}
	err := ca.server.Close()
	<-ca.done
	ca.server = nil
	if serr := ca.auth.Shutdown(); err == nil {
		err = serr
	}
	return err
}

// Restart stops the CA, lets change alter its fields, and starts it.
func (ca *CA) Restart(change func()) error {
	if err := ca.Stop(); err != nil {
		return err
	}
	if change != nil {
		change()
	}
	return ca.Start()
}

// Close stops the CA and removes its files.
func (ca *CA) Close() error {
	err := ca.Stop()
	if rerr := os.RemoveAll(ca.dir); err == nil {
		err = rerr
	}
	return err
}

// Revoke revokes a certificate, as an administrator would.
func (ca *CA) Revoke(c *x509.Certificate) error {
	return ca.auth.Revoke(authority.NewContext(context.Background(), ca.auth), &authority.RevokeOptions{
		Serial: c.SerialNumber.String(), Crt: c, MTLS: true, PassiveOnly: true, Reason: "test",
	})
}

// Database is the folder of the CA's database. It may be changed while the CA is stopped.
func (ca *CA) Database() string { return filepath.Join(ca.dir, "db") }

// A Counter counts requests.
type Counter struct {
	mu sync.Mutex
	n  map[string]int
}

// Count is how often method and path were asked for since the CA was made.
func (c *Counter) Count(method, path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[method+" "+path]
}

func (c *Counter) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if c.n == nil {
			c.n = map[string]int{}
		}
		c.n[r.Method+" "+r.URL.Path]++
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

var acmePorts = sync.OnceValues(func() (ports [2]string, err error) {
	for i, set := range []*int{&acme.InsecurePortHTTP01, &acme.InsecurePortTLSALPN01} {
		if ports[i], err = testport.Pick(); err != nil {
			return ports, err
		}
		_, port, _ := net.SplitHostPort(ports[i])
		if *set, err = strconv.Atoi(port); err != nil {
			return ports, err
		}
	}
	return ports, nil
})

// ACMEPorts are the addresses at which every CA of this process looks for the answers to its ACME challenges, instead of
// ports 80 and 443. It must be called before the first order.
func (ca *CA) ACMEPorts() (http01, tlsALPN01 string, err error) {
	ports, err := acmePorts()
	return ports[0], ports[1], err
}
