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

// wants503 tells whether this client is better told of such a limit by a 503. containerd and BuildKit repeat a 429 five times at once and pay no
// heed to Retry-After; a client of a mirror should go to its next host and not wait for
// this one. All others know how to wait after a 429, and dockerd shows its words to people, which it does
// not with a 503.
func (q *request) wants503(r *http.Request) bool {
	program, _, _ := strings.Cut(strings.ToLower(r.UserAgent()), "/")
	return q.door == doorMirror || program == "containerd" || program == "buildkit"
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
