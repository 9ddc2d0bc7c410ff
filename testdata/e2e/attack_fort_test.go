//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/entrepot/entrepot/testdata/world"
)

// fort is a program of its own, beside the siege's, with other settings. Its tls and http doors are shut.
type fort struct {
	*process
	proxy, mirror, admin string // where its doors are
	dir, ca              string
	args                 []string // as serve got them
}

// fort starts one with doors from a port on, below 32768: from there on the kernel takes ports for connections. One of the same name
// in the same test has the same data.
func (s *siege) fort(name string, port int, given ...string) *fort {
	s.t.Helper()
	f := &fort{dir: filepath.Join(scratch(s.t), name)}
	f.ca = filepath.Join(f.dir, "ca", "ca.crt")
	usual := []string{
		"--data-dir", f.dir, "--tls-listen", "off", "--http-listen", "off", "--resolver", dnsAddr, "--upstream-ca", s.up.roots,
		"--log-format", "json", "--log-level", "trace",
	}
	for i, door := range []*string{&f.proxy, &f.mirror, &f.admin} {
		flag := []string{"--proxy-listen", "--mirror-listen", "--admin-listen"}[i]
		*door = "127.0.0.1:" + strconv.Itoa(port+i)
		if at := slices.Index(given, flag); at >= 0 {
			*door = given[at+1]
		}
		usual = append(usual, flag, *door)
	}
	f.args = slices.Clone(given)
	for i := 0; i < len(usual); i += 2 { // a flag may be given once only
		if !slices.Contains(given, usual[i]) {
			f.args = append(f.args, usual[i], usual[i+1])
		}
	}
	s.t.Cleanup(func() { s.noPanic(name, f) }) // when it has been stopped
	f.process = start(s.t, name, command(lent(), entrepotBinary(), append([]string{"serve"}, f.args...)...))
	f.until(s.t, func() error { return answers("http://" + f.admin + "/readyz") })
	return f
}

// noPanic looks whether it survived what was tried.
func (s *siege) noPanic(name string, f *fort) {
	log, err := os.ReadFile(f.log)
	if err != nil || strings.Contains(string(log), "panic") || strings.Contains(string(log), "DATA RACE") {
		s.t.Errorf("%s: a fault of ours in its log, or none (%v)", name, err)
	}
}

// logged is the log, as soon as it has all of these: it is written behind the requests.
func (s *siege) logged(p *process, words ...string) string {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		log, err := os.ReadFile(p.log)
		if err != nil {
			s.t.Fatal(err)
		}
		missing := slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(string(log), word) })
		if !missing || time.Now().After(end) {
			return string(log)
		}
	}
}

// flushed sends one more request than there were, and waits for its line.
func (s *siege) flushed(p *process, mirror string) string {
	s.t.Helper()
	last := fmt.Sprintf("last-%d", time.Now().UnixNano())
	s.ask(mirror, request("GET", "/v2/reg.corp.test/open/app/manifests/1", "User-Agent: "+last))
	return s.logged(p, last)
}

// beside is the siege of another program.
func (s *siege) beside(f *fort) *siege {
	c := *s
	c.roots = rootsIn(s.t, f.ca)
	return &c
}

// at is the address of a door that listens everywhere, by an address of this machine.
func at(host, door string) string {
	_, port, err := net.SplitHostPort(door)
	if err != nil {
		panic(err) // it is one of ours
	}
	return net.JoinHostPort(host, port)
}

// The passwords of the doors, and the ones that the mirror has for registries. They have a part in common, by which they are known
// wherever they turn up; in base64 too, see secrets.
const (
	adaPassword  = "swordfish-of-ada"
	evePassword  = "swordfish-of-eve"
	rootPassword = "swordfish-of-root"
	lentPassword = "swordfish-lent-by-file"
	lentToken    = "swordfish-lent-by-variable"
)

// lent is the environment with a password that the mirror has for a registry.
func lent() []string { return []string{"LENT=" + lentToken} }

// secrets are the words of which none may be in a log, in the metrics, in what is printed, or in an answer.
func secrets() []string {
	words := []string{attackPassword, "swordfish", "c2VjcmV0", "X-Amz-Signature", "Bearer ey", "PRIVATE KEY", "pw@", "$2a$"}
	for user, password := range map[string]string{
		attackUser: attackPassword, "ada": adaPassword, "eve": evePassword, "root": rootPassword, "bot": lentPassword, "robot": lentToken,
	} {
		_, encoded, _ := strings.Cut(basicAs("", user, password), "Basic ")
		words = append(words, encoded)
	}
	return words
}

// secretsIn are those that a text has.
func secretsIn(text string) []string {
	return slices.DeleteFunc(secrets(), func(word string) bool { return !strings.Contains(text, word) })
}

// htpasswd makes a file of names and passwords.
func (s *siege) htpasswd(name string, cost int, users ...string) string {
	s.t.Helper()
	var lines strings.Builder
	for i := 0; i+1 < len(users); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(users[i+1]), cost)
		if err != nil {
			s.t.Fatal(err)
		}
		lines.WriteString(users[i] + ":" + string(hash) + "\n")
	}
	path := filepath.Join(scratch(s.t), name)
	writeFile(s.t, path, lines.String())
	return path
}

// discloses looks for secrets in all that the program says of itself: its answers, its log, its metrics, config show, and what it
// prints when it is killed by SIGQUIT, which ends it. The field opens the admin door.
func (s *siege) discloses(f *fort, field string) {
	s.t.Helper()
	_, metrics := s.ask(f.admin, request("GET", "/metrics", field))
	shown := run(s.t, command(lent(), entrepotBinary(), append([]string{"config", "show"}, f.args...)...))
	s.flushed(f.process, f.mirror)
	if err := f.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		s.t.Fatal(err)
	}
	<-f.gone
	log, err := os.ReadFile(f.log)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, row := range []struct{ where, text, proof string }{
		{"the metrics", metrics, "entrepot_requests_total"},
		{"config show", shown, "data-dir"},
		{"the log at level trace", string(log), `"registry"`},
		{"its last words after SIGQUIT", string(log), "goroutine "},
		{"the refusals of all doors", s.heard.String(), "401 Unauthorized"},
	} {
		found := secretsIn(row.text)
		s.try("secrets in "+row.where, fmt.Sprintf("none in %d bytes", len(row.text)), unless(len(found) == 0 && strings.Contains(row.text, row.proof), "%v", found))
	}
}

// overhear notes which hosts of the world get a secret of ours, in whatever field. It has to be begun before other faults are armed,
// and ends when the world is healed.
func (s *siege) overhear(secret ...string) func() string {
	heard := make(chan string, 1000)
	for _, name := range s.world.Names() {
		s.world.Host(name).Fault(world.Fault{Kind: world.HTML, Times: -1, Match: listener(name, secret, heard)})
	}
	return func() string {
		var all []string
		for len(heard) > 0 {
			all = append(all, <-heard)
		}
		return strings.Join(all, "; ")
	}
}

// listener finds the secrets in the fields of a request to a host, and lets no fault strike.
func listener(host string, secret []string, heard chan<- string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for name, values := range r.Header {
			if slices.ContainsFunc(secret, func(word string) bool { return strings.Contains(strings.Join(values, "\n"), word) }) {
				heard <- host + " got it in " + name
			}
		}
		return false
	}
}
