//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// uploader puts images into a registry by its plain HTTP API. It goes to the
// process itself, past the personality in front, so nothing is counted.
type uploader struct {
	t    testing.TB
	base string // "http://127.0.0.1:6001"
	repo string
}

// upload pushes an image under a tag and, as registries hold them, its
// manifests under their digests.
func upload(t testing.TB, base, repo, tag string, img image) {
	t.Helper()
	u := uploader{t, base, repo}
	for _, l := range img.layers {
		u.layer(l)
	}
	for _, c := range img.configs {
		u.blob(c.Digest, c.Size, bytes.NewReader(c.body))
	}
	for _, m := range img.manifests {
		u.manifest(m.Digest, m)
	}
	u.manifest(tag, img.index)
}

func (u uploader) layer(l layer) {
	u.t.Helper()
	f, err := os.Open(l.path)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	u.blob(l.digest, l.size, f)
}

// blob uploads in one piece: POST tells where to PUT.
func (u uploader) blob(digest string, size int64, content io.Reader) {
	u.t.Helper()
	resp := u.do(http.MethodPost, u.base+"/v2/"+u.repo+"/blobs/uploads/", "", 0, nil, http.StatusAccepted)
	to, err := resp.Location()
	if err != nil {
		u.t.Fatal(err)
	}
	query := to.Query()
	query.Set("digest", digest)
	to.RawQuery = query.Encode()
	u.do(http.MethodPut, to.String(), "application/octet-stream", size, content, http.StatusCreated)
}

func (u uploader) manifest(ref string, d document) {
	u.t.Helper()
	u.do(http.MethodPut, u.base+"/v2/"+u.repo+"/manifests/"+url.PathEscape(ref), d.MediaType, d.Size, bytes.NewReader(d.body), http.StatusCreated)
}

func (u uploader) do(method, to, mediaType string, size int64, body io.Reader, want int) *http.Response {
	u.t.Helper()
	req, err := http.NewRequest(method, to, body)
	if err != nil {
		u.t.Fatal(err)
	}
	req.ContentLength = size
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(resp.Body)
		u.t.Fatalf("%s %s: got %s, want %d: %s", method, to, resp.Status, want, strings.TrimSpace(string(text)))
	}
	return resp
}
