package proxy

import (
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// images are one of each registry that the world plays: redirects to signed URLs of other hosts, relative ones, chains of two, none.
var images = []string{
	"docker.io/library/alpine:3.20", "quay.io/org/tool:v1", "gcr.io/project/app:v1", "us-docker.pkg.dev/project/repo/app:v1",
	"registry.k8s.io/pause:3.10", "k8s.gcr.io/pause:3.1", "ghcr.io/org/app:v1", "mcr.microsoft.com/dotnet/runtime:8.0",
	"public.ecr.aws/nginx/nginx:1.27", "reg.corp.test/team/app:v1",
}

func TestEveryDoorAndRegistry(t *testing.T) {
	for _, door := range []string{doorProxy, doorTLS, doorHTTP, doorMirror} {
		t.Run(door, func(t *testing.T) {
			st := newSite(t)
			for i, ref := range images {
				st.world.Push(t, ref, world.Image(t, uint64(i), 300<<10, 20<<10))
				st.coldAndWarm(door, ref)
			}
			st.world.NoLeaks(t)
		})
	}
}

// coldAndWarm pulls twice: the first is a MISS for each blob, the second a HIT, and upstream sends not one blob byte more.
func (st *site) coldAndWarm(door, ref string) {
	t := st.t
	t.Helper()
	st.log.reset()
	st.pull(door, ref)
	for _, l := range st.log.await(t, kindBlob, 3) {
		if l.Cache != cacheMiss || l.Status != http.StatusOK {
			t.Errorf("%s: cold %s %s: got %s, status %d, want MISS", ref, l.Method, l.Ref, l.Cache, l.Status)
		}
	}
	st.log.reset()
	before := st.world.BlobBytes()
	st.pull(door, ref)
	st.world.NoMoreBlobBytes(t, before)
	for _, l := range st.log.await(t, kindBlob, 3) {
		if l.Cache != cacheHit || l.Status != http.StatusOK || l.Door != door {
			t.Errorf("%s: warm %s %s: got %s, status %d by %s, want HIT by %s", ref, l.Method, l.Ref, l.Cache, l.Status, l.Door, door)
		}
	}
}
