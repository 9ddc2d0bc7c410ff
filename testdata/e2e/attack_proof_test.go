//go:build e2e

package e2e

import (
	"fmt"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// proofLifetime is the --auth-ttl of the siege's program, and the life of a token: long enough for a slow machine to come to its
// question before the end.
const proofLifetime = 8 * time.Second

// revoked: who had a right and has lost it. What is returned waits for the end of a token and asks once more.
func (s *siege) revoked() func(*siege) {
	_, digest, _, blobDigest := ownImage("a")
	end := time.Now().Add(proofLifetime)
	passing, lasting, over := tokenUntil("ann", end), tokenUntil("bob", end.Add(time.Hour)), tokenUntil("old", end.Add(-time.Hour))
	silent := tokenUntil("carol", end.Add(time.Hour)) // comes back when its proof is over
	get := func(s *siege, path, token string, more ...string) int {
		resp, _ := s.ask(proxyAddr, request("GET", "http://"+ownName+"/v2/tok/app/"+path, append(more, token)...))
		return resp.StatusCode
	}
	s.own.let(passing, lasting, over, silent)
	for name, token := range map[string]string{"a token with an end": passing, "one that lasts": lasting, "another": silent, "one that is over, which the registry takes": over} {
		codes := []int{get(s, "manifests/1", token), get(s, "manifests/"+digest, token), get(s, "blobs/"+blobDigest, token)}
		s.try("for comparison: "+name, fmt.Sprint(codes), unless(fmt.Sprint(codes) == "[200 200 200]", "want 200"))
	}
	s.own.since()
	code := get(s, "blobs/"+blobDigest, lasting)
	s.try("for comparison: a proof is good for a while", fmt.Sprint(code), unless(code == 200 && len(s.own.since()) == 0, "want a hit"))
	s.own.let()
	for _, path := range []string{"manifests/" + digest, "blobs/" + blobDigest, "manifests/1"} {
		code = get(s, path, over)
		s.try("revoked, with a token that was over: "+path[:9], fmt.Sprint(code), unless(code == 401 && len(s.own.since()) > 0, "want 401"))
		code = get(s, path, tokenUntil("mallory", end.Add(time.Hour)))
		s.try("a stranger at the same time: "+path[:9], fmt.Sprint(code), unless(code == 401, "want 401"))
	}
	code = get(s, "manifests/1", lasting, "Cache-Control: no-cache")
	s.try("revoked, and the tag is checked", fmt.Sprint(code), unless(code == 401, "want the registry's 401"))
	for _, path := range []string{"manifests/" + digest, "blobs/" + blobDigest, "manifests/1"} {
		code = get(s, path, lasting)
		s.try("revoked, from then on: "+path[:9], fmt.Sprint(code), unless(code == 401, "want 401"))
	}
	s.closed()
	return func(s *siege) {
		<-time.After(time.Until(end.Add(time.Second))) // the others have used up most of it
		for _, path := range []string{"manifests/" + digest, "blobs/" + blobDigest, "manifests/1"} {
			code := get(s, path, passing)
			s.try("revoked, when the token has ended: "+path[:9], fmt.Sprint(code), unless(code == 401, "want 401"))
			code = get(s, path, silent)
			s.try("revoked, when the proof is over: "+path[:9], fmt.Sprint(code), unless(code == 401, "want 401"))
		}
	}
}

// closed: what was open to everybody and is not any more. It is found out when the tag is checked, or behind a request.
func (s *siege) closed() {
	pushed := s.world.Push(s.t, "reg.corp.test/open/closed:1", world.Image(s.t, 64, 10<<10))
	ways := named(s.approaches(s.itself(), ""), "the mirror", "?ns=", "the registry before v2", "the proxy as a mirror")
	list := questions("open/closed", pushed)
	s.granted("what is open to everybody", ways, list)
	s.world.Private("reg.corp.test/open/closed")
	s.denied("what was open: its tag, checked", ways[:1], list[:1], "Cache-Control: no-cache")
	s.denied("what was open, from then on", ways, list)
}
