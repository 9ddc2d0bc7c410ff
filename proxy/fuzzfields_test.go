package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/cache"
)

// FuzzSingleRange: what we take for a range net/http takes for the same one, or for one outside.
func FuzzSingleRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-9", "bytes=5-", "bytes=-5", "bytes=0-0,1-1", "bytes=9-1", "bytes= 1-2", "bytes=-0", "bytes=99999999999999999999-", "bytes=0x1-2", "bytes=+1-2"} {
		f.Add(seed)
	}
	content := strings.NewReader(strings.Repeat("0123456789", 10))
	f.Fuzz(func(t *testing.T, field string) {
		from, to, ok := singleRange(field)
		if !ok {
			return
		}
		w := httptest.NewRecorder()
		r := &http.Request{Method: http.MethodGet, Header: http.Header{"Range": {field}}}
		http.ServeContent(w, r, "", time.Time{}, content)
		size := int64(content.Size())
		first, end := from, min(to, size)
		if from < 0 {
			first = max(0, size+from)
		}
		if to < 0 {
			end = size
		}
		switch w.Code {
		case http.StatusRequestedRangeNotSatisfiable:
			if from >= 0 && from < size {
				t.Errorf("%q: got %d to %d, which net/http refuses", field, from, to)
			}
		case http.StatusPartialContent:
			if at, total, err := contentRange(w.Header().Get("Content-Range")); err != nil || at != first || total != size || int64(w.Body.Len()) != end-first {
				t.Errorf("%q: got %d to %d, net/http serves %s", field, from, to, w.Header().Get("Content-Range"))
			}
		default:
			t.Errorf("%q: got %d to %d, net/http answers %d", field, from, to, w.Code)
		}
	})
}

// FuzzBudgets: whatever registries say of their limits, what is remembered is a limit, and a rest that ends.
func FuzzBudgets(f *testing.F) {
	f.Add("100;w=21600", "99;w=21600", "120", 429)
	f.Add("-1", "x", "Wed, 25 Nov 2026 10:00:00 GMT", 503)
	f.Add("99999999999999999999", "", "99999999999", 429)
	f.Add("", "5", "-5", 503)
	now := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, limit, left, rest string, status int) {
		var b budgets
		b.note("quay.io", false, &http.Response{StatusCode: status, Header: http.Header{
			"Ratelimit-Limit": {limit}, "Ratelimit-Remaining": {left}, "Retry-After": {rest},
		}}, now)
		if b.resting("quay.io", now.Add(longestRest)) {
			t.Errorf("Retry-After %q: rests for more than %v", rest, longestRest)
		}
		if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable && b.resting("quay.io", now) {
			t.Errorf("Retry-After %q with %d: rests", rest, status)
		}
		b.scarce("quay.io")
		b.each(func(_ string, n int) {
			if n < 0 {
				t.Errorf("%q, %q: %d are left", limit, left, n)
			}
		})
	})
}

// FuzzMatches: If-None-Match means what it names, however it is written.
func FuzzMatches(f *testing.F) {
	d := cache.DigestOf(nil)
	f.Add(`"` + d.String() + `"`)
	f.Add(`W/"x", *`)
	f.Add(`,,""`)
	f.Fuzz(func(t *testing.T, field string) {
		if matches(field, d) && !strings.Contains(field, "*") && !strings.Contains(field, d.String()) {
			t.Errorf("%q is taken for %s", field, d)
		}
	})
}
