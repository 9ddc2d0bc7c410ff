package http2

import (
	"net/http"
	"strings"
)

// lower are the names of fields that answers mostly have, as HTTP/2 writes them; canon those of requests as package http does.
var lower, canon = func() (map[string]string, map[string]string) {
	l, c := map[string]string{}, map[string]string{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Ranges", "Age", "Authorization", "Cache-Control", "Cache-Status", "Content-Encoding",
		"Content-Length", "Content-Range", "Content-Type", "Date", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "Etag",
		"If-None-Match", "Last-Modified", "Link", "Location", "Range", "Retry-After", "User-Agent", "Vary", "Warning",
		"Www-Authenticate", "X-Content-Type-Options",
	} {
		small := strings.ToLower(name)
		l[name], c[small] = small, name
	}
	return l, c
}()

func lowered(name string) string {
	if s, ok := lower[name]; ok {
		return s
	}
	return strings.ToLower(name)
}

func canonical(name string) string {
	if s, ok := canon[name]; ok {
		return s
	}
	return http.CanonicalHeaderKey(name)
}
