package proxy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// vault is a site with a private image of Docker Hub (tokens) and one of a company's registry (passwords), both pulled by their owner.
type vault struct {
	*site
	clock *clock
	held  map[string]world.Pushed // by registry
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func newVault(t *testing.T, change ...func(*Config)) *vault {
	v := &vault{site: newSite(t, change...), held: map[string]world.Pushed{}}
	v.clock = v.site.clock()
	for i, reg := range []string{"docker.io", corp} {
		v.world.Account(reg, "ada", "right", "acme/*")
		v.world.Account(reg, "eve", "pass", "eve/*")
		v.world.Private(reg + "/acme/app")
		v.held[reg] = v.world.Push(t, reg+"/acme/app:v1", world.Image(t, uint64(i+1), 300<<10))
		v.world.Push(t, reg+"/eve/open:v1", world.Image(t, uint64(i+11), 30<<10))
	}
	return v
}

// token gets one from Docker Hub's realm, as the client does before it comes to us.
func (v *vault) token(user, password, repo string) string {
	v.t.Helper()
	var header []string
	if user != "" {
		header = []string{"Authorization", basicAuth(user, password)}
	}
	a := ask(v.t, v.world.Transport, "GET", "https://auth.docker.io/token?service=registry.docker.io&scope=repository:"+repo+":pull", header...)
	var got struct{ Token string }
	if err := json.Unmarshal(a.body, &got); err != nil {
		v.t.Fatal(err)
	}
	return "Bearer " + got.Token
}

// ada's credential for a repository of hers.
func (v *vault) ada(reg string) string {
	if reg == corp {
		return basicAuth("ada", "right")
	}
	return v.token("ada", "right", "acme/app")
}

// strangers are credentials that do not open acme/app.
func (v *vault) strangers(reg string) map[string]string {
	if reg == corp {
		return map[string]string{"nobody": "", "wrong password": basicAuth("ada", "wrong"), "another user": basicAuth("eve", "pass"), "rubbish": "Bearer x"}
	}
	return map[string]string{
		"nobody": "", "anonymous token": v.token("", "", "acme/app"), "another user": v.token("eve", "pass", "acme/app"),
		"token for another repository": v.token("eve", "pass", "eve/open"), "rubbish": "Bearer x", "password in place of a token": basicAuth("ada", "right"),
	}
}

// paths are all the ways to ask for what is in acme/app.
func (v *vault) paths(reg string) []string {
	p := v.held[reg]
	out := []string{"acme/app/manifests/v1"}
	for _, d := range append(append([]string{}, p.Manifests...), p.Blobs...) {
		out = append(out, "acme/app/manifests/"+d, "acme/app/blobs/"+d) // also as what it is not
	}
	return out
}

func bearing(credential string, header ...string) []string {
	if credential != "" {
		header = append(header, "Authorization", credential)
	}
	return header
}

// refused tells whether an answer is upstream's no, and holds nothing of the content.
func refused(a answer) bool {
	return (a.StatusCode == 401 || a.StatusCode == 403 || a.StatusCode == 404) && a.Header.Get("Docker-Content-Digest") == "" &&
		a.Header.Get("Cache-Status") == cacheStatus[cacheBypass] && len(a.body) < 1000
}

// TestPrivateStaysPrivate: what somebody entitled has pulled goes to nobody else (READMEs of our kind admit that it does).
func TestPrivateStaysPrivate(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		for _, w := range ways {
			t.Run(reg+" "+w.String(), func(t *testing.T) {
				v := newVault(t)
				rt := v.by(w)
				for _, path := range v.paths(reg) { // warm
					ask(t, rt, "GET", v.url(w, reg, path), bearing(v.ada(reg), accepting...)...)
				}
				v.settled()
				for who, credential := range v.strangers(reg) {
					for _, path := range v.paths(reg) {
						for _, request := range [][]string{{"GET"}, {"HEAD"}, {"GET", "Range", "bytes=5-9"}, {"GET", "If-None-Match", "*"}} {
							a := ask(t, rt, request[0], v.url(w, reg, path), bearing(credential, append(request[1:], accepting...)...)...)
							if !refused(a) {
								t.Errorf("%s: %v %s: got %d %.80q", who, request, path[:22], a.StatusCode, a.body)
							}
						}
					}
				}
				before := v.world.BlobBytes()
				for _, b := range v.held[reg].Blobs {
					if a := ask(t, rt, "GET", v.url(w, reg, "acme/app/blobs/"+b), bearing(v.ada(reg))...); a.StatusCode != 200 || a.Header.Get("Cache-Status") != cacheStatus[cacheHit] {
						t.Errorf("the owner: got %d %v, want a hit", a.StatusCode, a.Header)
					}
				}
				v.world.NoMoreBlobBytes(t, before)
				v.world.NoLeaks(t)
			})
		}
	}
}

// TestNoWayThroughAnotherRepository: a digest is readable through a repository only if it is in there, however well it is known.
func TestNoWayThroughAnotherRepository(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			v := newVault(t)
			w := way{doorMirror, true}
			rt := v.by(w)
			for _, path := range v.paths(reg) {
				ask(t, rt, "GET", v.url(w, reg, path), bearing(v.ada(reg), accepting...)...)
			}
			// eve's own repository is readable by all, and proven to be.
			for range 2 {
				ask(t, rt, "GET", v.url(w, reg, "eve/open/manifests/v1"), accepting...)
			}
			for _, path := range v.paths(reg) {
				if strings.HasSuffix(path, "/v1") {
					continue
				}
				for _, method := range []string{"GET", "HEAD"} {
					a := ask(t, rt, method, v.url(w, reg, strings.Replace(path, "acme/app", "eve/open", 1)), accepting...)
					if !refused(a) {
						t.Errorf("%s %s by way of eve/open: got %d %v %.80q", method, path, a.StatusCode, a.Header, a.body)
					}
				}
			}
		})
	}
}

// TestForeignLayersProveNothing: a registry takes a manifest whose layer has urls without having the layer. Whoever can push to any
// repository could otherwise read every digest that he knows the name of.
func TestForeignLayersProveNothing(t *testing.T) {
	v := newVault(t)
	w := way{doorMirror, true}
	rt := v.by(w)
	layer := v.held["docker.io"].Blobs[1]
	ask(t, rt, "GET", v.url(w, "docker.io", "acme/app/blobs/"+layer), bearing(v.ada("docker.io"))...)
	v.settled()
	for i, extra := range []string{`,"urls":["https://eve.example.org/x"]`, ""} {
		kind := []string{"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}[i]
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},`+
			`"layers":[{"mediaType":%q,"size":307200,"digest":%q%s}]}`, typeOCIManifest, kind, layer, extra)
		v.world.PutManifest(t, "docker.io/eve/open:trap", typeOCIManifest, []byte(body))
		if a := ask(t, rt, "GET", v.url(w, "docker.io", "eve/open/manifests/trap"), append([]string{"Cache-Control", "no-cache"}, accepting...)...); a.StatusCode != 200 {
			t.Fatalf("the trap itself: got %d %s", a.StatusCode, a.body)
		}
		if a := ask(t, rt, "GET", v.url(w, "docker.io", "eve/open/blobs/"+layer)); !refused(a) {
			t.Errorf("%s: got %d, %d bytes of the private layer", kind, a.StatusCode, len(a.body))
		}
	}
}

// TestStrangersDoNotJoin: while the owner's pull is under way there is nothing to be had by joining it.
func TestStrangersDoNotJoin(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			v := newVault(t)
			layer := "acme/app/blobs/" + v.held[reg].Blobs[1]
			storage := map[string]string{"docker.io": "production.cloudflare.docker.com", corp: corp}[reg]
			stalled := v.world.Host(storage).Fault(world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"})
			w := way{doorProxy, false}
			rt := v.by(w)
			credential := v.ada(reg)
			owner := make(chan answer)
			go func() {
				a, _ := try(t.Context(), rt, "GET", v.url(w, reg, layer), bearing(credential)...)
				owner <- a
			}()
			<-stalled.Hit()
			for who, credential := range v.strangers(reg) {
				for _, header := range [][]string{nil, {"Range", "bytes=0-99"}} {
					if a := ask(t, rt, "GET", v.url(w, reg, layer), bearing(credential, header...)...); !refused(a) {
						t.Errorf("%s: got %d, %d bytes", who, a.StatusCode, len(a.body))
					}
				}
			}
			if a := ask(t, rt, "GET", v.url(w, reg, layer), bearing(credential, "Range", "bytes=10-19")...); a.StatusCode != 206 || len(a.body) != 10 {
				t.Errorf("the owner's second request: got %d, %d bytes", a.StatusCode, len(a.body))
			}
			stalled.Release()
			if a := <-owner; a.err != nil || len(a.body) != 300<<10 {
				t.Errorf("the owner: got %d bytes, %v", len(a.body), a.err)
			}
		})
	}
}

// TestRevoked: who loses his right loses the cached copy with it, at the latest when the proof ends, whether or not upstream answers.
func TestRevoked(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			v := newVault(t)
			w := way{doorProxy, true}
			rt := v.by(w)
			credential := v.ada(reg)
			for _, path := range v.paths(reg) {
				ask(t, rt, "GET", v.url(w, reg, path), bearing(credential, accepting...)...)
			}
			v.settled()
			v.world.RemoveAccount(reg, "ada")
			v.world.ExpireTokens()
			v.clock.advance(proofLife + time.Second)
			for _, path := range v.paths(reg) {
				if a := ask(t, rt, "GET", v.url(w, reg, path), bearing(credential, accepting...)...); !refused(a) {
					t.Errorf("%s: got %d %v", path, a.StatusCode, a.Header)
				}
			}
			// Upstream has said no: that it says nothing now changes nothing.
			v.unplug()
			for _, path := range v.paths(reg) {
				if a := ask(t, rt, "GET", v.url(w, reg, path), bearing(credential, accepting...)...); a.StatusCode < 400 {
					t.Errorf("%s without upstream: got %d %v", path, a.StatusCode, a.Header)
				}
			}
		})
	}
}

// TestMadePrivate: a repository that everybody could read is closed, and stays so in an outage.
func TestMadePrivate(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		for _, w := range ways[:2] {
			t.Run(reg+" "+w.String(), func(t *testing.T) {
				v := newVault(t)
				v.world.Public(reg + "/acme/app")
				rt := v.by(w)
				paths := v.paths(reg)
				for range 2 {
					for _, path := range paths {
						var header []string
						if reg == "docker.io" && w.door == doorProxy {
							header = bearing(v.token("", "", "acme/app"))
						}
						ask(t, rt, "GET", v.url(w, reg, path), append(header, accepting...)...)
					}
				}
				v.settled()
				eventually(t, "probes have ended", func() bool { return within("(*Server).probe.func1") == 0 })
				v.world.Private(reg + "/acme/app")
				v.world.ExpireTokens()
				v.clock.advance(publicLife + time.Second)
				for _, path := range paths {
					if a := ask(t, rt, "GET", v.url(w, reg, path), accepting...); !refused(a) {
						t.Errorf("%s: got %d %v", path, a.StatusCode, a.Header)
					}
				}
				eventually(t, "probes have ended", func() bool { return within("(*Server).probe.func1") == 0 })
				v.unplug()
				for _, path := range paths {
					if a := ask(t, rt, "GET", v.url(w, reg, path), accepting...); a.StatusCode < 400 {
						t.Errorf("%s without upstream: got %d %v", path, a.StatusCode, a.Header)
					}
				}
			})
		}
	}
}

// TestTwoCredentials: a request has one credential or none. Whatever is sent in two fields proves nothing for those who send one of them.
func TestTwoCredentials(t *testing.T) {
	v := newVault(t)
	for _, door := range []string{doorMirror, doorProxy} {
		w := way{door, true}
		rt := v.by(w)
		for _, first := range []string{"", "Basic eA=="} {
			for _, path := range v.paths(corp) {
				req, _ := http.NewRequestWithContext(t.Context(), "GET", v.url(w, corp, path), nil)
				req.Header["Authorization"] = []string{first, v.ada(corp)}
				req.Header.Set("Accept", manifestTypes)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			for _, path := range v.paths(corp) {
				if a := ask(t, rt, "GET", v.url(w, corp, path), bearing(first, accepting...)...); !refused(a) {
					t.Errorf("%s door, %q: %s: got %d %v", door, first, path, a.StatusCode, a.Header)
				}
			}
		}
	}
}
