package proxy

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAdminDoor: who may do what there, with a password and without.
func TestAdminDoor(t *testing.T) {
	const here, there = "127.0.0.1:40000", "10.0.0.7:40000"
	token := []string{"Authorization", "Bearer token-of-the-directory"}
	right, wrong := bearing(basicAuth("root", "secret")), bearing(basicAuth("root", "wrong"))
	open := newSite(t, func(c *Config) { c.AdminToken = "token-of-the-directory" })
	users := usersOf(t, "root", "secret")
	closed := newSite(t, func(c *Config) { c.Admins, c.AdminToken = users, "token-of-the-directory" })
	for _, row := range []struct {
		what, path, from, host string
		header                 []string
		open, closed           int
	}{
		{"a probe", "/healthz", there, "10.0.0.9:5001", nil, 200, 200},
		{"a probe", "/readyz", there, "10.0.0.9:5001", nil, 200, 200},
		{"Prometheus", "/metrics", there, "entrepot.monitoring.svc:5001", nil, 200, 401},
		{"Prometheus with the password", "/metrics", there, "entrepot.monitoring.svc:5001", right, 200, 200},
		{"this machine", "/api/thing", here, "localhost:5001", nil, 404, 401},
		{"this machine, at the front", "/", here, "localhost:5001", nil, 200, 401},
		{"another machine, at the front", "/", there, "10.0.0.9:5001", nil, 403, 401},
		{"this machine by IPv6", "/api/thing", "[::1]:40000", "[::1]:5001", nil, 404, 401},
		{"this machine, mapped", "/api/thing", "[::ffff:127.0.0.1]:40000", "127.0.0.1", nil, 404, 401},
		{"this machine by a stranger's name", "/api/thing", here, "rebound.example:5001", nil, 403, 401},
		{"this machine with the password", "/api/thing", here, "admin.example", right, 403, 404},
		{"another machine", "/api/thing", there, "10.0.0.9:5001", nil, 403, 401},
		{"another machine that lies about it", "/api/thing", there, "localhost:5001", nil, 403, 401},
		{"another machine that forwards", "/api/thing", there, "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 403, 401},
		{"another machine with the password", "/api/thing", there, "10.0.0.9:5001", right, 403, 404},
		{"another machine with a wrong password", "/api/thing", there, "10.0.0.9:5001", wrong, 403, 401},
		{"the owner of the directory", "/api/thing", there, "x", token, 404, 404},
		{"somebody with another token", "/api/thing", there, "x", []string{"Authorization", "Bearer token"}, 403, 401},
		{"somebody with no token", "/api/thing", there, "x", []string{"Authorization", "Bearer "}, 403, 401},
		{"a way round by the path", "/healthz/../api/thing", there, "x", nil, 403, 401},
	} {
		for _, st := range []*site{open, closed} {
			want := row.open
			if st == closed {
				want = row.closed
			}
			r := httptest.NewRequest(http.MethodGet, "http://x"+row.path, nil)
			r.RemoteAddr, r.Host = row.from, row.host
			for i := 0; i+1 < len(row.header); i += 2 {
				r.Header.Set(row.header[i], row.header[i+1])
			}
			w := httptest.NewRecorder()
			st.server.adminHandler().ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s, %s, password asked for %v: got %d %q, want %d", row.what, row.path, st == closed, w.Code, w.Body, want)
			}
			if (w.Code == 401) != (w.Header().Get("Www-Authenticate") == basicChallenge) {
				t.Errorf("%s: got %d with challenge %q", row.what, w.Code, w.Header().Get("Www-Authenticate"))
			}
		}
	}
	if !strings.Contains(closed.log.String(), "login refused") {
		t.Errorf("nothing in the log of a wrong password:\n%s", closed.log)
	}
}

// TestAdminDoorFront: who looks what is there finds the pages, and all that are named answer.
func TestAdminDoorFront(t *testing.T) {
	st := newSite(t)
	url := "http://" + st.doors["admin"]
	resp, body := st.do("admin", http.MethodGet, url+"/")
	pages := regexp.MustCompile(`(?m)^/\w+`).FindAllString(string(body), -1)
	if want := []string{"/healthz", "/readyz", "/metrics"}; resp.StatusCode != 200 || !slices.Equal(pages, want) {
		t.Errorf("got %d %q, want the pages %v", resp.StatusCode, body, want)
	}
	for _, page := range pages {
		if resp, _ := st.do("admin", http.MethodGet, url+page); resp.StatusCode != 200 {
			t.Errorf("%s: got %d, want 200", page, resp.StatusCode)
		}
	}
}

// TestAdminDoorForeignPages: a page in an operator's browser changes nothing, though the browser has the password and sends it along.
func TestAdminDoorForeignPages(t *testing.T) {
	users := usersOf(t, "root", "secret")
	st := newSite(t, func(c *Config) { c.Admins = users })
	url := "http://" + st.doors["admin"] + "/api/verify"
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		if resp, body := st.do("admin", http.MethodPost, url, bearing(basicAuth("root", "secret"), name, value)...); resp.StatusCode != 403 {
			t.Errorf("%s %s: got %d %s, want 403", name, value, resp.StatusCode, body)
		}
	}
	if resp, _ := st.do("admin", http.MethodPost, url, bearing(basicAuth("root", "secret"))...); resp.StatusCode != 200 {
		t.Errorf("a program: got %d, want 200", resp.StatusCode)
	}
}

// TestAdminIsNowhereElse: its paths mean nothing at the doors for clients.
func TestAdminIsNowhereElse(t *testing.T) {
	st := newSite(t)
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/api/verify", "/v2/../metrics", "/v2/../api/verify", "//metrics"} {
		for _, door := range []string{doorMirror, doorProxy, doorHTTP} {
			for _, method := range []string{"GET", "POST"} {
				resp, body, _ := st.say(door, method+" "+path+" HTTP/1.1\r\nHost: "+st.doors["admin"]+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				if resp.StatusCode < 400 || strings.Contains(body, "entrepot_") {
					t.Errorf("%s %s by the %s door: got %d %.100s, want a refusal", method, path, door, resp.StatusCode, body)
				}
			}
		}
	}
}
