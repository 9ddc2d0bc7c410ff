package world

import (
	"bytes"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// notFound is what a registry says that keeps one type only.
func notFound(rw http.ResponseWriter, _ *http.Request, rt route, _ *held) {
	fail(rw, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", map[string]string{"Tag": rt.ref})
}

// unfitDistribution does what Docker's registry does: a client that knows no
// lists gets the image for linux/amd64 of a Docker list; OCI types are not found.
func unfitDistribution(reg *registry) func(http.ResponseWriter, *http.Request, route, *held) {
	return func(rw http.ResponseWriter, req *http.Request, rt route, found *held) {
		kind := types.MediaType(found.header.Get("Content-Type"))
		child := ""
		if kind == types.DockerManifestList && req.Method == http.MethodGet {
			child = amd64(found.body)
		}
		if child == "" {
			notFound(rw, req, rt, found)
			return
		}
		answer, err := reg.tell(req.Method, rt.repo, child, "", nil)
		if err != nil || answer.status != http.StatusOK {
			notFound(rw, req, rt, found)
			return
		}
		answer.send(rw)
	}
}

// amd64 picks the digest for linux/amd64 from a list.
func amd64(list []byte) string {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(list))
	if err != nil {
		return ""
	}
	for _, d := range idx.Manifests {
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
			return d.Digest.String()
		}
	}
	return ""
}

// unfitQuay does what quay.io does to those who do not ask for a type: a
// conversion to the oldest, which has another digest.
func unfitQuay(rw http.ResponseWriter, _ *http.Request, rt route, _ *held) {
	body := `{"schemaVersion":1,"name":"` + rt.repo + `","tag":"` + rt.ref + `","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}`
	rw.Header().Set("Content-Type", string(types.DockerManifestSchema1Signed))
	_, _ = rw.Write([]byte(body)) // the client may have left
}
