package world

import (
	"fmt"
	"net/http"
	"sync"
)

// limit is Docker Hub's count of manifests per address in six hours.
type limit struct {
	mu   sync.Mutex
	left int
	most int // negative: none
}

// check books manifest GETs, and answers those over the limit.
func (l *limit) check(rw http.ResponseWriter, req *http.Request, rt route) bool {
	if rt.kind != Manifest || action(req.Method) != "pull" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most < 0 {
		return false
	}
	over := l.left <= 0 && req.Method == http.MethodGet
	if req.Method == http.MethodGet && !over {
		l.left--
	}
	h := rw.Header()
	h.Set("Ratelimit-Limit", fmt.Sprintf("%d;w=21600", l.most))
	h.Set("Ratelimit-Remaining", fmt.Sprintf("%d;w=21600", l.left))
	h.Set("Docker-Ratelimit-Source", "203.0.113.77")
	if over {
		fail(rw, http.StatusTooManyRequests, "TOOMANYREQUESTS",
			"You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit", nil)
	}
	return over
}

// RateLimit says how many manifests Docker Hub still gives; negative: any number, unsaid.
func (w *World) RateLimit(left int) {
	w.limit.mu.Lock()
	defer w.limit.mu.Unlock()
	w.limit.left, w.limit.most = left, max(left, w.limit.most)
	if left < 0 {
		w.limit.most = left
	}
}
