package upstream

import (
	"net/http"
	"strings"
	"sync"
)

// Validators are the entity tags that hosts gave one object, so that whoever goes on with it by Range can say which one it has begun
// (If-Range; RFC 9110, section 13.1.5). It is safe for concurrent use; the zero value holds none.
//
// A tag is its host's own affair: another storage, a region or a copy away, has another one for the same bytes, and would take ours
// for a reason to send all from the start. So it goes only to the host that gave it, and no more to one that did not know it again.
type Validators struct {
	mu   sync.Mutex
	tags map[string]string // by host; empty for one that is not to be asked
}

// condition sets or drops the If-Range of a request to host. Nil knows no tags.
func (v *Validators) condition(host string, h http.Header) {
	h.Del("If-Range")
	if v == nil || h.Get("Range") == "" {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if tag := v.tags[host]; tag != "" {
		h.Set("If-Range", tag)
	}
}

// note remembers what the answer of a host says of the object. A weak tag promises no equal bytes and may not be sent.
func (v *Validators) note(host string, conditional bool, resp *http.Response) {
	ok := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent
	if v == nil || !ok && !conditional {
		return
	}
	tag := resp.Header.Get("Etag")
	if conditional && resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(tag, `"`) {
		tag = ""
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tags == nil {
		v.tags = map[string]string{}
	}
	if old, known := v.tags[host]; !known || old != "" {
		v.tags[host] = tag
	}
}
