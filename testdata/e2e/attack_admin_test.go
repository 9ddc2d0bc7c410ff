//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// adminDoor tries to reach it from where it is not for, and to make a browser of the operator's do it.
func (s *siege) adminDoor() {
	f := s.fort("allowing", 26000, "--admin-listen", "0.0.0.0:26002", "--allow-net", "0.0.0.0/0,::/0", "--tunnel-port", "26000,26001,26002,80", "--registry", "self.corp.test,reg.corp.test")
	s = s.beside(f)
	s.dns.Answer("self.corp.test", netip.MustParseAddr("127.0.0.1"))
	s.fromElsewhere(f)
	s.foreignPages(f, nil)
	s.foreignPages(f, []string{"Host: " + at("127.0.0.1", f.admin)})
	s.throughOthers(f)
	info, err := os.Stat(f.dir + "/admin.token")
	if err != nil {
		s.t.Fatal(err)
	}
	s.try("the token that lets commands in", info.Mode().String(), unless(info.Mode().Perm() == 0o600, "others may read it"))
}

// fromElsewhere: without a password another machine gets probes and metrics, whatever it says of itself.
func (s *siege) fromElsewhere(f *fort) {
	post := func(fields ...string) string {
		return request("POST", "/api/verify", append(fields, "Content-Length: 0")...)
	}
	for _, from := range []string{neighbour, lanAddr, foreigner} {
		for _, fields := range [][]string{
			nil,
			{"Host: localhost:26002"},
			{"Host: 127.0.0.1:26002"},
			{"X-Forwarded-For: 127.0.0.1"},
			{"X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1"},
			{"Authorization: Bearer "},
			{basicAs("Authorization", "root", rootPassword)},
		} {
			r := s.say(s.dialFrom(from, at(from, f.admin)), post(fields...))
			s.try(fmt.Sprintf("the admin door from %s with %.40q", from, fields), r.String(), unless(r.refused() && r.statuses()[0] == "403", "want 403"))
		}
		for _, path := range []string{"/", "/api/", "/api/verify", "/debug/pprof/", "/debug/vars", "/ca.key", "/config", "/healthz/../api/verify", "/metrics/../api/verify", "//api/verify", "/api%2fverify", "/%61pi/verify"} {
			r := s.say(s.dialFrom(from, at(from, f.admin)), request("GET", path))
			s.try("GET "+path+" of the admin door from "+from, r.String(), unless(r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "300", "got %.100q", r.raw))
		}
	}
	s.say(s.dial(f.mirror), request("GET", "/v2/reg.corp.test/open/app/manifests/1"))
	_, inside := s.ask(at("127.0.0.1", f.admin), request("GET", "/metrics", "Host: localhost"))
	_, rebound := s.ask(at("127.0.0.1", f.admin), request("GET", "/metrics", "Host: rebound.example.org"))
	r := s.say(s.dialFrom(neighbour, at(neighbour, f.admin)), request("GET", "/metrics"))
	s.try("the operator's own registries in metrics for another machine, or a page", r.String(), unless(!strings.Contains(r.raw+rebound, "corp.test") && strings.Contains(inside, "reg.corp.test"), "they are named, or not even here"))
	s.try("for comparison: metrics from another machine", r.String(), unless(r.statuses() != nil && r.statuses()[0] == "200", "want 200"))
	r = s.say(s.dial(at("127.0.0.1", f.admin)), post("Host: localhost:26002"))
	s.try("for comparison: the same call from this machine", r.String(), unless(r.statuses() != nil && r.statuses()[0] < "400", "want it done"))
}

// foreignPages: a page of another site, in the browser of somebody at this machine.
func (s *siege) foreignPages(f *fort, fields []string) {
	for _, row := range [][]string{
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: same-site"},
		{"Origin: https://evil.example.org"},
		{"Origin: null"},
		{"Origin: http://127.0.0.1:8080"},
		{"Origin: http://localhost:26002.evil.example.org"},
		{"Sec-Fetch-Site: cross-site", "Content-Type: application/x-www-form-urlencoded"},
		{"Sec-Fetch-Site: cross-site", "Content-Type: multipart/form-data; boundary=x"},
		{"Sec-Fetch-Site: cross-site", "Content-Type: text/plain"},
		{"Sec-Fetch-Site: cross-site", "Content-Type: application/json"},
		{"Origin: https://evil.example.org", "Sec-Fetch-Mode: no-cors"},
		{"Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1:26002"},
		{"Sec-Fetch-Site: cross-site", "X-Http-Method-Override: GET"},
	} {
		resp, _ := s.ask(at("127.0.0.1", f.admin), request("POST", "/api/verify", append(append(row, "Content-Length: 0"), fields...)...))
		s.try("a page's call of the admin door with "+strings.Join(row, ", "), resp.Status, unless(resp.StatusCode == 403 || resp.StatusCode == 415, "want 403"))
	}
	for _, name := range []string{"rebound.example.org", "rebound.example.org:26002", "localhost.example.org", "127.0.0.1.example.org", "localhost.", "localhost@evil", "0x7f.1", "2130706433", "127.1", "[::1].example.org"} {
		resp, _ := s.ask(at("127.0.0.1", f.admin), request("POST", "/api/verify", "Host: "+name, "Origin: http://"+name, "Sec-Fetch-Site: same-origin", "Content-Length: 0"))
		s.try("a page whose name "+name+" was led to this machine", resp.Status, unless(resp.StatusCode == 403 || resp.StatusCode == 400, "want 403"))
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
		resp, _ := s.ask(at("127.0.0.1", f.admin), request(method, "/api/verify", append(fields, "Sec-Fetch-Site: cross-site", "Content-Length: 0")...))
		allowed := resp.Header.Get("Access-Control-Allow-Origin")
		s.try(method+" of what changes state", resp.Status, unless(resp.StatusCode >= 400 && allowed == "", "want a refusal, allowed %q", allowed))
	}
}

// throughOthers asks the other doors, whose operator allows every network and these very ports, for the admin door, by all the names
// that this machine has.
func (s *siege) throughOthers(f *fort) {
	_, port, _ := strings.Cut(f.admin, ":")
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.0.0.01", "[::]", "[::1]", "[::ffff:127.0.0.1]",
		"[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "localhost", "LocalHost", "localhost.", "self.corp.test", "self.corp.test.",
		lanAddr, "10.77.0.1", "10.77.0.200", "192.31.196.1", foreigner, "[::ffff:" + lanAddr + "]", "%31%32%37.0.0.1", "127。0。0。1",
	} {
		var got, bad []string
		for _, text := range []string{
			request("CONNECT", host+":"+port), request("GET", "http://"+host+":"+port+"/metrics"), request("POST", "http://"+host+":"+port+"/api/verify", "Content-Length: 0"),
			request("GET", "/v2/a/b/manifests/1?ns="+host+":"+port), request("GET", "/"+host+":"+port+"/v2/a/b/manifests/1"), request("GET", "/metrics", "Host: "+host+":"+port),
		} {
			for _, door := range []string{f.proxy, f.mirror} {
				r := s.say(s.dial(door), text)
				got = append(got, r.statuses()...)
				if !r.refused() || strings.Contains(r.raw, "entrepot_requests") {
					bad = append(bad, fmt.Sprintf("%.60q: %v %.100q", text, r, r.raw))
				}
			}
		}
		s.try("the admin door as "+host+" through others", strings.Join(got, " "), unless(len(bad) == 0, "%v", bad))
	}
	for _, door := range []string{f.proxy, f.mirror} {
		_, port, _ := strings.Cut(door, ":")
		for _, host := range []string{"127.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "self.corp.test", "localhost"} {
			r := s.say(s.dial(f.proxy), request("CONNECT", host+":"+port))
			s.try("with all allowed: CONNECT "+host+":"+port, r.String(), unless(r.refused(), "want a refusal and the end"))
		}
	}
	for _, target := range []string{"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80"} {
		r := s.say(s.dial(f.proxy), request("CONNECT", target))
		s.try("with all allowed: CONNECT "+target, r.String(), unless(r.refused(), "want a refusal and the end"))
	}
}
