package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
)

// blob is content that is computed while it is read, so that a layer takes no memory: the common noise over and over, behind a
// number that makes it another content.
type blob struct {
	digest string
	size   int64
	number uint64
	noise  []byte
}

// noiseSize is no power of two, so that no block of a file equals another one.
const noiseSize = 1<<20 + 13

func newNoise() []byte {
	noise := make([]byte, noiseSize)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	return noise
}

func newBlob(noise []byte, number uint64, size int64) *blob {
	b := &blob{size: size, number: number, noise: noise}
	sum := sha256.New()
	io.Copy(sum, b.reader())
	b.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return b
}

func (b *blob) reader() io.ReadSeeker { return io.NewSectionReader(b, 0, b.size) }

// ReadAt implements io.ReaderAt.
func (b *blob) ReadAt(p []byte, at int64) (int, error) {
	want := len(p)
	p = p[:max(0, min(int64(want), b.size-at))]
	for n := 0; n < len(p); {
		n += copy(p[n:], b.noise[(at+int64(n))%noiseSize:])
	}
	if head := fmt.Appendf(nil, "%020d", b.number); at < int64(len(head)) {
		copy(p, head[at:])
	}
	if len(p) < want {
		return len(p), io.EOF
	}
	return len(p), nil
}

// image is a manifest and what it points to.
type image struct {
	repo     string
	tag      string
	digest   string
	manifest []byte
	blobs    []*blob
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// newImage makes an image of these blobs, the first of which stands for the configuration.
func newImage(repo, tag string, blobs []*blob) *image {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	var all []descriptor
	for _, b := range blobs {
		all = append(all, descriptor{typeLayer, b.digest, b.size})
	}
	all[0].MediaType = typeConfig
	body, _ := json.MarshalIndent(map[string]any{ // strings and numbers always marshal
		"schemaVersion": 2, "mediaType": typeManifest, "config": all[0], "layers": all[1:],
	}, "", "  ")
	sum := sha256.Sum256(body)
	return &image{repo: repo, tag: tag, digest: "sha256:" + hex.EncodeToString(sum[:]), manifest: body, blobs: blobs}
}
