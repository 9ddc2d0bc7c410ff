package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/entrepot/entrepot/cache"
)

// Progress is how far a check of the whole cache has come. POST /api/verify of the admin door streams one a line.
type Progress struct {
	Objects      int64    `json:"objects"`
	Bytes        int64    `json:"bytes"`
	TotalObjects int64    `json:"total_objects"`
	TotalBytes   int64    `json:"total_bytes"`
	Damaged      []string `json:"damaged,omitempty"`  // and dropped
	Repaired     []string `json:"repaired,omitempty"` // of those, what was fetched anew
	Done         bool     `json:"done,omitempty"`
	Error        string   `json:"error,omitempty"`
}

// ProgressOf is v for people and programs.
func ProgressOf(v cache.Verification) Progress {
	p := Progress{Objects: v.Objects, Bytes: v.Bytes, TotalObjects: v.TotalObjects, TotalBytes: v.TotalBytes}
	p.Damaged = names(v.Damaged)
	return p
}

func names(digests []cache.Digest) []string {
	var out []string
	for _, d := range digests {
		out = append(out, d.String())
	}
	return out
}

// progressEvery keeps the stream to what a person can follow.
const progressEvery = 200 * time.Millisecond

// serveVerify rehashes what is held, as fast as ?rate= (bytes a second) allows, drops what is damaged and fetches it anew. Who leaves
// ends it. One runs at a time: two would only read the disk twice.
func (s *Server) serveVerify(w http.ResponseWriter, r *http.Request) {
	var rate int64
	if text := r.URL.Query().Get("rate"); text != "" {
		var err error
		if rate, err = strconv.ParseInt(text, 10, 64); err != nil || rate < 0 {
			http.Error(w, "rate: want bytes a second", http.StatusBadRequest)
			return
		}
	}
	if !s.verifying.TryLock() {
		http.Error(w, "a check is running already", http.StatusConflict)
		return
	}
	defer s.verifying.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	var told time.Time
	v, err := s.cfg.Store.Verify(r.Context(), cache.VerifyOptions{Rate: rate, Progress: func(v cache.Verification) {
		if now := s.now(); now.Sub(told) >= progressEvery {
			told = now
			out.Encode(ProgressOf(v))
			flush.Flush()
		}
	}})
	last := ProgressOf(v)
	last.Repaired = names(s.repair(r.Context(), v.Damaged))
	last.Done = true
	if err != nil {
		last.Error = err.Error()
	}
	out.Encode(last)
}
