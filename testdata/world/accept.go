package world

import (
	"mime"
	"net/http"
	"strings"
)

// accepts reports whether a client takes a manifest of this type. One that
// says nothing takes the oldest only, which nobody stores any more.
func accepts(h http.Header, mediaType string) bool {
	for _, line := range h.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			kind, _, err := mime.ParseMediaType(part)
			if err == nil && (kind == mediaType || kind == "*/*" || kind == "application/*") {
				return true
			}
		}
	}
	return false
}
