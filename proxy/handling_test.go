package proxy

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestRequestHandling walks docs/request-handling.md: one row, or a few, for each number of its list.
func TestRequestHandling(t *testing.T) {
	st := newSite(t, func(c *Config) {
		list := append(hosts.Defaults(), hosts.Registry{Name: "reg.corp.test"},
			hosts.Registry{Name: "refused.example.org", Mode: hosts.Refuse}, hosts.Registry{Name: "unknown.example.org", Mode: hosts.Tunnel})
		table, err := hosts.New(list)
		if err != nil {
			t.Fatal(err)
		}
		c.Table = table
	})
	img := world.Image(t, 7, 100<<10)
	p := st.world.Push(t, "docker.io/library/alpine:3.20", img)
	st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 8, 100<<10))
	m := st.mirror
	accept := []string{"Accept", manifestTypes}
	blob := "/blobs/" + p.Blobs[0]
	rows := []struct {
		number       int
		door, method string
		url          string
		header       []string
		status       int
		cache, text  string
	}{
		{2, doorMirror, "GET", m("/v2/"), []string{"Via", "1.1 " + st.server.via}, 508, "BYPASS", "--resolver"},
		{4, doorProxy, "GET", "https://quay.io/v2/", []string{"Host", "gcr.io"}, 401, "BYPASS", ""}, // net/http ignores the field
		{4, doorMirror, "GET", m("/ca.crt"), nil, 200, "BYPASS", "BEGIN CERTIFICATE"},
		{4, doorMirror, "GET", m("/v2/registry.nowhere.test/a/manifests/b"), nil, 404, "BYPASS", "--registry registry.nowhere.test"},
		{4, doorMirror, "GET", m("/v2/org/tool/manifests/v1?ns=quay.io"), accept, 200, "MISS", "schemaVersion"},
		{4, doorMirror, "GET", m("/v2/quay.io/org/tool/manifests/v1"), accept, 200, "HIT", "schemaVersion"},
		{4, doorMirror, "GET", m("/quay.io/v2/org/tool/manifests/v1"), accept, 200, "HIT", "schemaVersion"},
		{4, doorMirror, "GET", m("/v2/quay.io/org/tool/manifests/v1"), []string{"Accept", "application/nothing"}, 200, "BYPASS", "signatures"}, // quay.io makes a schema 1 of it
		{5, doorMirror, "GET", m("/v2/a/b/manifests/c?ns=refused.example.org"), nil, 403, "BYPASS", "refused"},
		{6, doorProxy, "GET", "http://unknown.example.org/", nil, 200, "BYPASS", "echo"},
		{7, doorMirror, "GET", m("/v2/alpine/manifests/3.20"), nil, 200, "MISS", "schemaVersion"},
		{8, doorMirror, "GET", m("/v2/library/alpine/blobs/sha256:12"), nil, 400, "BYPASS", "DIGEST_INVALID"},
		{8, doorMirror, "GET", m("/v2/UPPER/alpine/manifests/1"), nil, 400, "BYPASS", "NAME_INVALID"},
		{8, doorMirror, "GET", m("/v2/library/alpine/manifests/a!b"), nil, 400, "BYPASS", "TAG_INVALID"},
		{9, doorMirror, "GET", m("/v2/"), nil, 200, "BYPASS", "{}"},
		{10, doorMirror, "PUT", m("/v2/library/alpine/manifests/1"), nil, 405, "BYPASS", "push to docker.io itself"},
		{11, doorProxy, "POST", "https://quay.io/v2/org/tool/blobs/uploads/", nil, 401, "BYPASS", ""},
		{12, doorMirror, "GET", m("/v2/library/alpine/manifests/" + p.Digest), nil, 200, "HIT", "schemaVersion"},
		{13, doorMirror, "GET", m("/v2/library/alpine/manifests/3.20"), nil, 200, "HIT", "schemaVersion"},
		{13, doorMirror, "GET", m("/v2/library/alpine/manifests/no"), nil, 404, "BYPASS", "MANIFEST_UNKNOWN"},
		{14, doorMirror, "HEAD", m("/v2/library/alpine" + blob), nil, 200, "MISS", ""},
		{14, doorMirror, "GET", m("/v2/library/alpine" + blob), nil, 200, "MISS", ""},
		{15, doorMirror, "GET", m("/v2/library/alpine/tags/list"), nil, 200, "BYPASS", "3.20"},
	}
	walked := map[int]bool{0: true, 1: true, 3: true} // before there is a request: connect_test.go; who it is from: login_test.go
	for _, row := range rows {
		walked[row.number] = true
		st.log.reset()
		resp, body := st.do(row.door, row.method, row.url, row.header...)
		if resp.StatusCode != row.status || !strings.Contains(string(body), row.text) {
			t.Errorf("%d: %s %s: got %d %q, want %d with %q", row.number, row.method, row.url, resp.StatusCode, body, row.status, row.text)
		}
		var word string
		for _, l := range st.log.await(t, "", 1) {
			word = l.Cache
		}
		if word != row.cache {
			t.Errorf("%d: %s %s: log says %s, want %s", row.number, row.method, row.url, word, row.cache)
		}
	}
	for _, number := range numbersOf(t, "../docs/request-handling.md") {
		if !walked[number] {
			t.Errorf("number %d of the document has no row here", number)
		}
	}
	if _, got := st.do(doorMirror, http.MethodGet, m("/nothing")); !strings.Contains(string(got), "/ca.crt") {
		t.Errorf("a request for nothing: got %q, want a hint at what there is", got)
	}
}

// numbersOf are the numbers of the document's list, which the handler's comments must have too.
func numbersOf(t *testing.T, file string) []int {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("handler.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for i, m := range regexp.MustCompile(`(?m)^(\d+)\. \*\*`).FindAllStringSubmatch(string(doc), -1) {
		out = append(out, i)
		if i > 0 && !strings.Contains(string(code), "// "+m[1]+"\n") {
			t.Errorf("number %s of the document is not marked in handler.go", m[1])
		}
	}
	if len(out) < 10 {
		t.Fatalf("found %d numbers in %s", len(out), file)
	}
	return out
}
