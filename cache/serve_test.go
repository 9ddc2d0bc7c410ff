package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestServeContent serves ranges by net/http from a fill that stands still in the middle, and from the finished file.
func TestServeContent(t *testing.T) {
	const size = 40 << 20
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(size)
	gate := make(chan struct{})
	hold := holdAt(1<<20, gate)
	up.before = func(ctx context.Context, request int, pos int64) error {
		if request > 0 {
			return nil // a side transfer
		}
		return hold(ctx, request, pos)
	}
	get := func(r string, from, to int) {
		t.Helper()
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close()
		w := serve(b, r)
		if w.Code != http.StatusPartialContent && to-from < size {
			t.Errorf("%s: got status %d", r, w.Code)
		}
		if !bytes.Equal(w.Body.Bytes(), up.content[from:to]) {
			t.Errorf("%s: got %d other bytes, want %d", r, w.Body.Len(), to-from)
		}
	}
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	for _, again := range []bool{false, true} {
		get("bytes=0-99", 0, 100)
		get("bytes=1000-500000", 1000, 500001)
		get("bytes=20000000-29999999", 20000000, 30000000)
		get(fmt.Sprintf("bytes=%d-", size-100), size-100, size)
		get("bytes=-70000", size-70000, size)
		getMulti(t, s, up)
		if again {
			break
		}
		var wg sync.WaitGroup
		wg.Go(func() { get("bytes=1000000-", 1000000, size) })
		wg.Go(func() { get("", 0, size) })
		close(gate)
		wg.Wait()
		wantIdle(t, s)
	}
	if got := up.sent.Load(); got != size {
		t.Errorf("upstream sent %d bytes, want %d", got, size)
	}
}

func serve(b *Blob, r string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/octet-stream")
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	if r != "" {
		req.Header.Set("Range", r)
	}
	http.ServeContent(w, req, "", time.Time{}, b.ReadSeekCloser)
	return w
}

func getMulti(t *testing.T, s *Store, up *upstream) {
	t.Helper()
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	parts := []span{{10, 20}, {35000000, 35000100}, {15, 1000}, {21000000, 21000001}}
	var asked []string
	for _, p := range parts {
		asked = append(asked, fmt.Sprintf("%d-%d", p.from, p.to-1))
	}
	w := serve(b, "bytes="+strings.Join(asked, ","))
	_, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(w.Body, params["boundary"])
	for _, p := range parts {
		part, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(part); !bytes.Equal(got, up.content[p.from:p.to]) {
			t.Errorf("part %v: got %d other bytes", p, len(got))
		}
	}
}
