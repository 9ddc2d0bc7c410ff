package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// site is a small internet with one entrepot in it and its doors open on loopback.
type site struct {
	t       testing.TB
	world   *world.World
	server  *Server
	store   *cache.Store
	ca      *ca.Authority
	log     *logLines
	doors   map[string]string // door → address
	dir     string
	keep    cache.Config // of the store
	mu      sync.Mutex
	client  []func() // idle connections to drop at the end
	cut     sync.Map // host → the error of every dial to it, or where it leads; see cutOff
	dialled sync.Map // connection → its host
}

// newSite builds one. change, where given, has the last word on the configuration.
func newSite(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	return newSiteKeeping(t, cache.Config{MaxSize: 1 << 30}, change...)
}

// newSiteKeeping builds one whose store is told what to do, but for its reports, which go to the log.
func newSiteKeeping(t testing.TB, keep cache.Config, change ...func(*Config)) *site {
	t.Helper()
	st := &site{t: t, world: world.New(t, world.Options{}), log: &logLines{}, dir: t.TempDir(), keep: keep}
	log := zerolog.New(st.log)
	st.keep.Report = func(what string, err error) { log.Warn().Err(err).Msg("cache: " + what) }
	st.start(change...)
	return st
}

func (st *site) start(change ...func(*Config)) {
	t := st.t
	t.Helper()
	var err error
	if st.store, err = cache.Open(st.dir+"/cache", st.keep); err != nil {
		t.Fatal(err)
	}
	if st.ca, err = ca.Open(ca.Config{Dir: st.dir + "/ca"}); err != nil {
		t.Fatal(err)
	}
	list := append(hosts.Defaults(), hosts.Registry{Name: "reg.corp.test", Hosts: []string{"reg.corp.test"}})
	table, err := hosts.New(list)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Table: table, CA: st.ca, Store: st.store, UpstreamRoots: st.world.Roots, Dial: st.dial,
		Log: zerolog.New(st.log).Level(zerolog.InfoLevel),
	}
	for _, c := range change {
		c(&cfg)
	}
	if st.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	st.doors = map[string]string{}
	st.listen(doorProxy, st.server.ServeProxy)
	st.listen(doorMirror, st.server.ServeMirror)
	st.listen(doorTLS, st.server.ServeTLS)
	st.listen(doorHTTP, st.server.ServePlain)
	st.listen("admin", st.server.ServeAdmin)
	t.Cleanup(st.stop)
}

// dial is how the server under test reaches the world.
func (st *site) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host := hostOf(addr)
	switch cut, _ := st.cut.Load(host); cut := cut.(type) {
	case error:
		return nil, &net.OpError{Op: "dial", Net: network, Err: cut}
	case string:
		return (&net.Dialer{}).DialContext(ctx, network, cut)
	}
	conn, err := st.world.Dial(ctx, network, addr)
	if err == nil {
		st.dialled.Store(conn, host)
	}
	return conn, err
}

// hangUp ends the connections to host, also one whose request has not given it back yet.
func (st *site) hangUp(host string) {
	st.dialled.Range(func(c, to any) bool {
		if to == host {
			c.(net.Conn).Close()
		}
		return true
	})
}

func (st *site) listen(door string, serve func(net.Listener) error) {
	st.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		st.t.Fatal(err)
	}
	st.doors[door] = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	st.t.Cleanup(func() {
		if err := <-done; err != nil {
			st.t.Errorf("serve %s: %v", door, err)
		}
	})
}

func (st *site) stop() {
	for _, drop := range st.client {
		drop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := st.server.Shutdown(ctx); err != nil {
		st.t.Errorf("shutdown: %v", err)
	}
	st.store.Close()
}

// restart ends the server and begins anew on the same data.
func (st *site) restart(change ...func(*Config)) {
	st.t.Helper()
	st.stop()
	st.client = nil
	st.start(change...)
}

// transport is the way a client takes that uses door.
func (st *site) transport(door string) *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(st.ca.RootPEM())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}
	st.client = append(st.client, tr.CloseIdleConnections)
	switch door {
	case doorProxy:
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: st.doors[doorProxy]})
	case doorTLS, doorHTTP: // what an override of the name does
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := st.doors[doorTLS]
			if door == doorHTTP {
				to = st.doors[doorHTTP]
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}
	}
	return tr
}

// name is how a client of door writes ref.
func (st *site) name(door, ref string) name.Reference {
	st.t.Helper()
	var opts []name.Option
	switch door {
	case doorMirror:
		ref = st.doors[doorMirror] + "/" + strings.TrimPrefix(ref, "docker.io/")
		opts = append(opts, name.Insecure)
	case doorHTTP:
		opts = append(opts, name.Insecure)
	}
	n, err := name.ParseReference(ref, opts...)
	if err != nil {
		st.t.Fatal(err)
	}
	return n
}

// pull pulls ref by door with a client that hashes everything, and fails the test when anything is wrong.
func (st *site) pull(door, ref string, auth ...authn.Authenticator) v1.Image {
	st.t.Helper()
	img, err := st.tryPull(door, ref, auth...)
	if err != nil {
		st.t.Fatalf("pull %s by the %s door: %v\nlog:\n%s\nworld:\n%s", ref, door, err, st.log, st.world.Story())
	}
	return img
}

func (st *site) tryPull(door, ref string, auth ...authn.Authenticator) (v1.Image, error) {
	opts := []remote.Option{remote.WithTransport(st.transport(door)), remote.WithRetryStatusCodes()}
	if len(auth) > 0 {
		opts = append(opts, remote.WithAuth(auth[0]))
	}
	img, err := remote.Image(st.name(door, ref), opts...)
	if err != nil {
		return nil, err
	}
	return img, readAll(img)
}

// awaitPublic waits for the probe behind the first pull to have found out that everybody may read ref.
func (st *site) awaitPublic(ref, digest string) {
	st.t.Helper()
	repo, _ := name.ParseReference(ref)
	reg, _ := st.server.table.Load().Lookup(repo.Context().RegistryStr())
	q := &request{registry: reg.Name, repo: repo.Context().RepositoryStr()}
	until := time.Now().Add(10 * time.Second)
	for _, err := st.store.Tag(q.publicKey()); err != nil; _, err = st.store.Tag(q.publicKey()) {
		if time.Now().After(until) {
			st.t.Fatalf("%s is not found to be public (%s)\n%s", ref, digest, st.world.Story())
		}
		runtime.Gosched()
	}
}

// readAll reads configuration and layers; the client checks sizes and digests as it reads.
func readAll(img v1.Image) error {
	if _, err := img.RawConfigFile(); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, rc)
		rc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// get is one plain request by door.
func (st *site) get(door, url string, header ...string) (*http.Response, []byte) {
	st.t.Helper()
	return st.do(door, http.MethodGet, url, header...)
}

func (st *site) do(door, method, url string, header ...string) (*http.Response, []byte) {
	st.t.Helper()
	req, err := http.NewRequestWithContext(st.t.Context(), method, url, nil)
	if err != nil {
		st.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := st.transport(door).RoundTrip(req)
	if err != nil {
		st.t.Fatalf("%s %s by the %s door: %v\nlog:\n%s", method, url, door, err, st.log)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		st.t.Fatalf("%s %s by the %s door: %v\nlog:\n%s", method, url, door, err, st.log)
	}
	return resp, body
}

// mirror is a URL at the mirror door.
func (st *site) mirror(path string) string { return "http://" + st.doors[doorMirror] + path }

// logLines is the log as it was written.
type logLines struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // closed at the next line; nil while nobody waits
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logLines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// await waits until there are n lines of this kind: a line is written when its answer has ended, which the client may see first.
func (l *logLines) await(t testing.TB, kind string, n int) []line {
	t.Helper()
	for {
		grown := l.growing()
		if got := l.requests(kind); len(got) >= n {
			return got
		}
		select {
		case <-grown:
		case <-time.After(10 * time.Second):
			t.Fatalf("got %d lines of kind %q, want %d\n%s", len(l.requests(kind)), kind, n, l)
		}
	}
}

// until waits for text in the log.
func (l *logLines) until(t testing.TB, text string) {
	t.Helper()
	for {
		grown := l.growing()
		if strings.Contains(l.String(), text) {
			return
		}
		select {
		case <-grown:
		case <-time.After(10 * time.Second):
			t.Fatalf("no %q in the log:\n%s", text, l)
		}
	}
}

// growing is closed at the next line.
func (l *logLines) growing() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grown == nil {
		l.grown = make(chan struct{})
	}
	return l.grown
}

// line is a log line of a request.
type line struct {
	Door, Client, Method, Registry, Repo, Kind, Ref, Cache, Error, UA string
	Status                                                            int
	Bytes                                                             int64
}

func (l *logLines) requests(kind string) []line {
	var out []line
	for _, text := range strings.Split(l.String(), "\n") {
		var one line
		if json.Unmarshal([]byte(text), &one) == nil && one.Cache != "" && (kind == "" || one.Kind == kind) {
			out = append(out, one)
		}
	}
	return out
}
