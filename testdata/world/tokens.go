package world

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// token is what a realm has promised. Its value says nothing to a client.
type token struct {
	registry string
	user     string
	access   []string // "library/alpine:pull"
	public   bool     // may pull whatever is public
	until    time.Time
	gone     bool
}

func (t token) allows(repo, act string) bool {
	return t.public && act == "pull" || slices.Contains(t.access, repo+":"+act)
}

// tokens are all that were issued.
type tokens struct {
	world *World
	mu    sync.Mutex
	all   map[string]*token
}

func newTokens(w *World) *tokens { return &tokens{world: w, all: map[string]*token{}} }

func (t *tokens) issue(tok token) string {
	// A real one is a JWT of some kilobytes; the length matters to header limits.
	value := rand.Text() + "." + strings.Repeat("world-token-", 120) + "." + rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[value] = &tok
	return value
}

// find gives a token that is still good.
func (t *tokens) find(value string) (token, bool) {
	now := t.world.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	tok := t.all[value]
	if tok == nil || tok.gone || now.After(tok.until) {
		return token{}, false
	}
	return *tok, true
}

// ExpireTokens ends all tokens issued so far, whatever was promised.
func (w *World) ExpireTokens() {
	w.tokens.mu.Lock()
	defer w.tokens.mu.Unlock()
	for _, tok := range w.tokens.all {
		tok.gone = true
	}
}

// issuer tells whose credential a request bears, "" if none or nobody's.
// A token that has ended is still its registry's secret.
func (w *World) issuer(req *http.Request) string {
	if value, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		w.tokens.mu.Lock()
		defer w.tokens.mu.Unlock()
		if tok := w.tokens.all[value]; tok != nil {
			return tok.registry
		}
		return ""
	}
	user, password, ok := req.BasicAuth()
	if !ok {
		return ""
	}
	host, _ := split(req.Host)
	owner := w.hosts[host].owner
	if reg := w.registries[owner]; reg != nil && reg.rights.login(user, password) {
		return owner // two registries may know the same user
	}
	for name, reg := range w.registries {
		if reg.rights.login(user, password) {
			return name
		}
	}
	return ""
}
