package world

import (
	"net/http"
	"strings"
	"sync"
)

// rights say who may do what at one registry.
type rights struct {
	mu       sync.Mutex
	private  map[string]bool
	accounts map[string]account
	closed   bool // nothing without an account, like a private ECR
	openPush bool // anybody may push while there are no accounts
}

type account struct {
	password string
	repos    []string // "acme/app", "acme/*" or "*"
}

func newRights() *rights {
	return &rights{private: map[string]bool{}, accounts: map[string]account{}}
}

// login reports whether the password is the user's.
func (r *rights) login(user, password string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.accounts[user]
	return ok && a.password == password
}

// allowed reports whether user ("" for anybody) may do action in repo.
func (r *rights) allowed(user, repo, action string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, known := r.accounts[user]
	if known && a.owns(repo) {
		return true
	}
	if action == "pull" {
		return !r.private[repo] && (known || !r.closed)
	}
	return r.openPush && len(r.accounts) == 0
}

func (a account) owns(repo string) bool {
	for _, pattern := range a.repos {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if repo == pattern || wild && strings.HasPrefix(repo, prefix) {
			return true
		}
	}
	return false
}

// Private hides a repository ("docker.io/acme/app") from everybody but the
// accounts that own it.
func (w *World) Private(repo string) { w.visible(repo, false) }

// Public shows it again.
func (w *World) Public(repo string) { w.visible(repo, true) }

func (w *World) visible(name string, public bool) {
	w.t.Helper()
	reg, repo := w.repository(name)
	reg.rights.mu.Lock()
	defer reg.rights.mu.Unlock()
	reg.rights.private[repo] = !public
}

// Account adds a user of a registry ("docker.io") who owns repos ("acme/app",
// "acme/*" or "*"): may push to them, and pull them though private. To change
// a password, add the user again; tokens issued before stay good until they end.
func (w *World) Account(name, user, password string, repos ...string) {
	w.t.Helper()
	reg, _ := w.repository(name + "/any")
	reg.rights.mu.Lock()
	defer reg.rights.mu.Unlock()
	reg.rights.accounts[user] = account{password, repos}
}

// RemoveAccount ends a user.
func (w *World) RemoveAccount(name, user string) {
	w.t.Helper()
	reg, _ := w.repository(name + "/any")
	reg.rights.mu.Lock()
	defer reg.rights.mu.Unlock()
	delete(reg.rights.accounts, user)
}

// basic is how registries without a realm ask for a password: on every call.
type basic struct {
	owner *registry
	title string
}

func (b *basic) admit(rw http.ResponseWriter, req *http.Request, rt route) bool {
	user, password, given := req.BasicAuth()
	rights := b.owner.rights
	if given && !rights.login(user, password) {
		user = ""
		b.challenge(rw)
		return false
	}
	if rt.repo == "" && (given || !rights.closed) || rt.repo != "" && rights.allowed(user, rt.repo, action(req.Method)) {
		return true
	}
	if given {
		fail(rw, http.StatusForbidden, "DENIED", "requested access to the resource is denied", nil)
		return false
	}
	b.challenge(rw)
	return false
}

func (b *basic) challenge(rw http.ResponseWriter) {
	rw.Header().Set("WWW-Authenticate", `Basic realm="`+b.title+`"`)
	fail(rw, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
}
