//go:build e2e

package e2e

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"path/filepath"
	"testing"
)

// format is a family of media types. Registries hold both, and clients treat
// them by different code.
type format struct{ index, manifest, config, layer string }

func dockerFormat() format {
	return format{
		index:    "application/vnd.docker.distribution.manifest.list.v2+json",
		manifest: "application/vnd.docker.distribution.manifest.v2+json",
		config:   "application/vnd.docker.container.image.v1+json",
		layer:    "application/vnd.docker.image.rootfs.diff.tar.gzip",
	}
}

func ociFormat() format {
	return format{
		index:    "application/vnd.oci.image.index.v1+json",
		manifest: "application/vnd.oci.image.manifest.v1+json",
		config:   "application/vnd.oci.image.config.v1+json",
		layer:    "application/vnd.oci.image.layer.v1.tar+gzip",
	}
}

// descriptor is the JSON of one.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// document is a manifest, an index or a config: what is pushed from memory.
type document struct {
	descriptor
	body []byte
}

// image is an index of one manifest for each platform, with its content.
type image struct {
	index     document
	manifests []document
	configs   []document
	layers    []layer          // of all platforms
	native    map[string]int64 // digest and size of what linux/amd64 pulls as blobs, config too
}

func marshal(mediaType string, v any) document {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own literals
	}
	d := descriptor{MediaType: mediaType, Digest: sum(body), Size: int64(len(body))}
	return document{descriptor: d, body: body}
}

func sum(body []byte) string {
	h := sha256.New()
	h.Write(body)
	return digestOf(h)
}

// assemble makes an image of the layers of each architecture.
func assemble(f format, layers map[string][]layer) image {
	img := image{native: map[string]int64{}}
	var listed []descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		if len(layers[arch]) == 0 {
			continue
		}
		config, manifest := describe(f, arch, layers[arch])
		entry := manifest.descriptor
		entry.Platform = &platform{Architecture: arch, OS: "linux"}
		listed = append(listed, entry)
		img.configs = append(img.configs, config)
		img.manifests = append(img.manifests, manifest)
		img.layers = append(img.layers, layers[arch]...)
		if arch == "amd64" {
			img.native[config.Digest] = config.Size
			for _, l := range layers[arch] {
				img.native[l.digest] = l.size
			}
		}
	}
	img.index = marshal(f.index, map[string]any{"schemaVersion": 2, "mediaType": f.index, "manifests": listed})
	return img
}

// describe makes config and manifest of one architecture.
func describe(f format, arch string, layers []layer) (config, manifest document) {
	var diffs []string
	var descriptors []descriptor
	for _, l := range layers {
		diffs = append(diffs, l.diffID)
		descriptors = append(descriptors, descriptor{MediaType: f.layer, Digest: l.digest, Size: l.size})
	}
	config = marshal(f.config, map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/true"}, "Labels": map[string]string{"made-by": "e2e"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	manifest = marshal(f.manifest, map[string]any{
		"schemaVersion": 2, "mediaType": f.manifest, "config": config.descriptor, "layers": descriptors,
	})
	return config, manifest
}

// blobBytes is what one pull for linux/amd64 moves.
func (i image) blobBytes() (n int64) {
	for _, size := range i.native {
		n += size
	}
	return n
}

const bigLayer = 256 << 20

// gallery is the images of a run, made of real files: one of everyday size in
// both formats and for two architectures, one with a large layer, and a small
// one for where the way counts and not the load.
type gallery struct{ docker, oci, big, small image }

func makeGallery(t testing.TB) gallery {
	t.Helper()
	dir := scratch(t)
	made := func(name string, limit int64, level int, roots ...string) layer {
		l, err := pack(filepath.Join(dir, name+".tar.gz"), limit, level, roots...)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	src := goSource()
	base := made("base", 6<<20, gzip.BestSpeed, "/usr/bin")
	middle := made("middle", 2<<20, gzip.DefaultCompression, src+"/net", src+"/crypto")
	top := made("top", 64<<10, gzip.DefaultCompression, src+"/go")
	other := made("other", 1<<20, gzip.DefaultCompression, src+"/runtime")
	// Stored, not deflated: a real layer, and as large on disk as on the wire.
	big := made("big", bigLayer, gzip.NoCompression, "/usr/bin", "/usr/sbin", "/usr/lib")
	both := map[string][]layer{"amd64": {base, middle, top}, "arm64": {other, top}}
	g := gallery{
		docker: assemble(dockerFormat(), both),
		oci:    assemble(ociFormat(), both),
		small:  assemble(dockerFormat(), map[string][]layer{"amd64": {top}}),
		big:    assemble(ociFormat(), map[string][]layer{"amd64": {top, big}}),
	}
	t.Logf("made images of %d and %d bytes", g.docker.blobBytes(), g.big.blobBytes())
	return g
}
