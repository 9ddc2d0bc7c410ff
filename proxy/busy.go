package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
)

// busy tells whether upstream has set a limit on how often it is asked.
func (a *answered) busy() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout
}

// wants503 tells whether this client is better told of such a limit by a 503. containerd repeats a 429 five times at once and pays no
// heed to Retry-After, dockerd gives up for good (harbor PR #22348); a client of a mirror should go to its next host and not wait for
// this one. All others (podman, skopeo, crane, regctl, oras) know how to wait after a 429.
func (q *request) wants503(r *http.Request) bool {
	program, _, _ := strings.Cut(strings.ToLower(r.UserAgent()), "/")
	return q.door == doorMirror || program == "containerd" || program == "docker" || program == "buildkit"
}

// tellBusy answers by a 503 that says when to come again, in upstream's words where it had some for people.
func (q *request) tellBusy(w http.ResponseWriter, a *answered) {
	message := a.Error()
	var said struct {
		Errors []struct{ Message string }
	}
	if json.Unmarshal(a.body, &said) == nil && len(said.Errors) > 0 && said.Errors[0].Message != "" {
		message += ": " + said.Errors[0].Message
	}
	h := w.Header()
	for _, name := range []string{"Retry-After", "Ratelimit-Limit", "Ratelimit-Remaining", "Docker-Ratelimit-Source"} {
		if v, ok := a.header[name]; ok {
			h[name] = v
		}
	}
	if h.Get("Retry-After") == "" {
		h.Set("Retry-After", soon)
	}
	q.refuse(w, http.StatusServiceUnavailable, codeUnavailable, message)
}
