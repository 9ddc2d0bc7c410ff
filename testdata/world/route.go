package world

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Kind says what a request is about.
type Kind string

// The kinds of requests that are counted apart.
const (
	Ping     Kind = "ping"     // /v2/
	Token    Kind = "token"    // a token realm
	Manifest Kind = "manifest" // by tag or digest
	Blob     Kind = "blob"     // at the registry or at its storage
	Upload   Kind = "upload"   // a blob on its way in
	Other    Kind = "other"    // tag lists, referrers, pages
)

// route is a registry path taken apart.
type route struct {
	kind Kind
	repo string
	ref  string // tag or digest
}

func parseRoute(path string) route {
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok {
		return route{kind: Other}
	}
	rest = strings.Trim(rest, "/")
	if rest == "" {
		return route{kind: Ping}
	}
	for _, part := range []struct {
		word string
		kind Kind
	}{{"/manifests/", Manifest}, {"/blobs/uploads", Upload}, {"/blobs/", Blob}, {"/tags/", Other}, {"/referrers/", Other}} {
		if i := strings.LastIndex(rest, part.word); i > 0 {
			return route{part.kind, rest[:i], rest[i+len(part.word):]}
		}
	}
	return route{kind: Other}
}

// action is the right a request needs.
func action(method string) string {
	if method == http.MethodGet || method == http.MethodHead {
		return "pull"
	}
	return "push"
}

// fail answers with the registry protocol's error body.
func fail(rw http.ResponseWriter, status int, code, message string, detail any) {
	body, err := json.Marshal(map[string]any{"errors": []any{
		map[string]any{"code": code, "message": message, "detail": detail},
	}})
	if err != nil {
		panic(err) // the details are ours
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(append(body, '\n')) // a client that left needs no answer
}
