package world

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"
)

// bearer is a token realm and the registry's side of it.
type bearer struct {
	world   *World
	owner   *registry
	host    string
	path    string
	service string
	said    time.Duration // expires_in; 0: not said
	life    time.Duration // how long it is honoured
	both    bool          // says access_token besides token
	scope   string        // a fixed scope instead of repository:…, "aws" at public.ecr.aws
	deny    int           // status for a scope that nobody grants; 0: a token without it
}

// realmAt finds the realm that lives at host and path.
func (w *World) realmAt(host, path string) *bearer {
	for _, reg := range w.registries {
		has, ok := reg.auth.(interface{ realm() *bearer })
		if !ok {
			continue
		}
		b := has.realm()
		if b.host == host && strings.TrimSuffix(b.path, "/") == strings.TrimSuffix(path, "/") {
			return b
		}
	}
	return nil
}

func (b *bearer) realm() *bearer { return b }

// admit lets a request with a token for its repository pass.
func (b *bearer) admit(rw http.ResponseWriter, req *http.Request, rt route) bool {
	value, isToken := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	tok, ok := b.world.tokens.find(value)
	switch {
	case isToken && (!ok || tok.registry != b.owner.name):
		b.challenge(rw, req, rt, "invalid_token")
	case !isToken:
		b.challenge(rw, req, rt, "")
	case rt.repo != "" && !tok.allows(rt.repo, action(req.Method)):
		b.challenge(rw, req, rt, "insufficient_scope")
	default:
		return true
	}
	return false
}

func (b *bearer) challenge(rw http.ResponseWriter, req *http.Request, rt route, problem string) {
	value := fmt.Sprintf(`Bearer realm="https://%s%s",service="%s"`, b.host, b.path, b.service)
	var detail any
	switch {
	case b.scope != "":
		value += `,scope="` + b.scope + `"`
	case rt.repo != "":
		actions := action(req.Method)
		if actions == "push" {
			actions = "pull,push"
		}
		value += fmt.Sprintf(`,scope="repository:%s:%s"`, rt.repo, actions)
		detail = []any{map[string]string{"Type": "repository", "Class": "", "Name": rt.repo, "Action": action(req.Method)}}
	}
	if problem != "" {
		value += `,error="` + problem + `"`
	}
	rw.Header().Set("WWW-Authenticate", value)
	fail(rw, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", detail)
}

// ServeHTTP is the realm: GET as of old, POST as in OAuth 2.
func (b *bearer) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if err := req.ParseForm(); err != nil {
		http.Error(rw, "bad form", http.StatusBadRequest)
		return
	}
	user, password, given := req.BasicAuth()
	if req.Method == http.MethodPost && req.PostForm.Get("grant_type") == "password" {
		user, password, given = req.PostForm.Get("username"), req.PostForm.Get("password"), true
	}
	if req.Method == http.MethodPost && req.PostForm.Get("grant_type") == "refresh_token" { // the world's are user:password
		user, password, given = strings.Cut(req.PostForm.Get("refresh_token"), ":")
	}
	if given && !b.owner.rights.login(user, password) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusUnauthorized)
		_, _ = rw.Write([]byte(`{"details":"incorrect username or password"}` + "\n")) // the client may have left
		return
	}
	tok := token{registry: b.owner.name, until: b.world.Now().Add(b.life), user: user}
	asked := 0
	for _, scopes := range req.Form["scope"] {
		for scope := range strings.FieldsSeq(scopes) {
			asked++
			b.grant(&tok, scope)
		}
	}
	if b.deny != 0 && asked > 0 && len(tok.access) == 0 && !tok.public {
		fail(rw, b.deny, "DENIED", "requested access to the resource is denied", nil)
		return
	}
	b.answer(rw, req, tok)
}

// grant adds to tok what of scope its user may do.
func (b *bearer) grant(tok *token, scope string) {
	if scope == b.scope && scope != "" {
		tok.public = true
		return
	}
	kind, rest, _ := strings.Cut(scope, ":")
	i := strings.LastIndex(rest, ":")
	if kind != "repository" || i < 0 {
		return
	}
	for act := range strings.SplitSeq(rest[i+1:], ",") {
		if repo := rest[:i]; b.owner.rights.allowed(tok.user, repo, act) {
			tok.access = append(tok.access, repo+":"+act)
		}
	}
}

func (b *bearer) answer(rw http.ResponseWriter, req *http.Request, tok token) {
	value := b.world.tokens.issue(tok)
	body := map[string]any{"token": value}
	if b.both || req.Method == http.MethodPost {
		body["access_token"] = value
	}
	if b.said != 0 {
		body["expires_in"] = int(b.said.Seconds())
		body["issued_at"] = b.world.Now().UTC().Format(time.RFC3339Nano)
	}
	sort.Strings(tok.access)
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(body) // the client may have left
}
