package proxy

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// adminAsks is what the admin door says to whoever comes from an address.
func (st *site) adminAsks(method, path, from string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://10.0.0.9:5001/", nil)
	r.URL.Path, r.RequestURI, r.RemoteAddr = path, path, from
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	st.server.adminHandler().ServeHTTP(w, r)
	return w
}

// TestMetricsAreDiscreet: to other machines without a password the metrics name no registry but the shipped ones, and still add up; to
// this machine, to who has the password and to who owns the data they name them all.
func TestMetricsAreDiscreet(t *testing.T) {
	const there = "10.0.0.7:40000"
	st := newSite(t, func(c *Config) { c.AdminToken = "token-of-the-directory" })
	others := []string{corp, world.ECR}
	for i, reg := range append([]string{"quay.io"}, others...) {
		st.world.Push(t, reg+"/org/app:v1", world.Image(t, uint64(i+1), 1000))
		if resp, body := st.get(doorMirror, st.mirror("/v2/"+reg+"/org/app/manifests/v1"), accepting...); resp.StatusCode != 200 && reg != world.ECR {
			t.Fatalf("%s: got %d %s", reg, resp.StatusCode, body)
		}
	}
	st.log.await(t, kindManifest, 3)
	some := st.adminAsks(http.MethodGet, "/metrics", there).Body.String()
	for _, name := range others {
		if strings.Contains(some, name) {
			t.Errorf("%s is told:\n%s", name, grep(some, "entrepot_"))
		}
	}
	if !strings.Contains(some, `registry="quay.io"`) || !strings.Contains(some, "\nentrepot_breaker_open{registry=\"other\"} 0\n") {
		t.Errorf("got\n%s\nwant the shipped registries by name, and others", grep(some, "entrepot_"))
	}
	lines := strings.Split(grep(some, "entrepot_"), "\n")
	slices.Sort(lines)
	for i := 1; i < len(lines); i++ {
		if name := lines[i][:strings.LastIndex(lines[i], " ")]; strings.HasPrefix(lines[i-1], name+" ") {
			t.Errorf("said twice: %s", name)
		}
	}
	users := usersOf(t, "root", "secret")
	for what, ask := range map[string]func() *httptest.ResponseRecorder{
		"this machine": func() *httptest.ResponseRecorder { return st.adminAsks(http.MethodGet, "/metrics", "127.0.0.1:40000") },
		"the data's owner": func() *httptest.ResponseRecorder {
			return st.adminAsks(http.MethodGet, "/metrics", there, "Authorization", "Bearer token-of-the-directory")
		},
		"with the password": func() *httptest.ResponseRecorder {
			st.server.SetUsers(nil, users)
			defer st.server.SetUsers(nil, nil)
			return st.adminAsks(http.MethodGet, "/metrics", there, "Authorization", basicAuth("root", "secret"))
		},
	} {
		all := ask().Body.String()
		for _, name := range others {
			if !strings.Contains(all, `registry="`+name+`"`) {
				t.Errorf("%s: %s is not told:\n%s", what, name, grep(all, "entrepot_"))
			}
		}
		if strings.Contains(all, `registry="other"`) {
			t.Errorf("%s: got others without a name", what)
		}
	}
}

// TestMergedMetrics: counters of hidden names add up, of gauges the highest is told, and what is named stays as it is.
func TestMergedMetrics(t *testing.T) {
	st := newSite(t)
	m := st.server.metrics
	for registry, n := range map[string]int{"quay.io": 1, "a.corp.test": 2, "b.corp.test": 3} {
		m.upstreamBytes(registry)(n)
		m.upstreamAnswer(registry, kindBlob, 200)
	}
	for range 2 { // twice: what is gathered is not changed
		all, some := httptest.NewRecorder(), httptest.NewRecorder()
		m.handler(m.registry).ServeHTTP(all, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		m.handler(discreet(m.registry)).ServeHTTP(some, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, want := range []string{`bytes_total{registry="quay.io"} 1`, `bytes_total{registry="other"} 5`, `requests_total{kind="blob",registry="other",status="200"} 2`} {
			if !strings.Contains(some.Body.String(), "\nentrepot_upstream_"+want+"\n") {
				t.Errorf("got\n%s\nwant %s", grep(some.Body.String(), "entrepot_upstream"), want)
			}
		}
		for _, want := range []string{`bytes_total{registry="a.corp.test"} 2`, `bytes_total{registry="b.corp.test"} 3`} {
			if !strings.Contains(all.Body.String(), "\nentrepot_upstream_"+want+"\n") {
				t.Errorf("got\n%s\nwant %s", grep(all.Body.String(), "entrepot_upstream"), want)
			}
		}
	}
}

// TestAdminDoorIsTight: without a password another machine gets three pages, by GET and HEAD, and a refusal for whatever else it tries.
func TestAdminDoorIsTight(t *testing.T) {
	st := newSite(t)
	open := []string{"/healthz", "/readyz", "/metrics"}
	for _, path := range append([]string{
		"", "/", "*", "/api/verify", "/api/", "/api", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/ca.crt", "/ca.key", "/v2/", "/dashboard", "/favicon.ico",
		"/index.html", "/metrics/", "//metrics", "/metrics/../api/verify", "/healthz/", "/healthz/../api/verify", "/./api/verify", "/METRICS", "/metrics\x00",
	}, open...) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"} {
			w := st.adminAsks(method, path, "10.0.0.7:40000")
			want := slices.Contains(open, path) && (method == "GET" || method == "HEAD")
			if got := w.Code == 200; got != want || !got && w.Code < 400 {
				t.Errorf("%s %q: got %d %.100s, want an answer %v", method, path, w.Code, w.Body, want)
			}
		}
	}
}
