package world

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a tar of one file of pseudo-random bytes, computed where it is
// read: a layer of any size costs no memory.
type layer struct {
	seed   uint64
	size   int64
	digest v1.Hash
	head   []byte // the tar header
	body   int64  // length of the file in it
}

// Layer is an uncompressed layer of exactly size bytes, the same for the same
// seed. From 2048 bytes on it is a tar that clients can unpack; below it is
// plain noise.
func Layer(seed uint64, size int64) v1.Layer {
	l := &layer{seed: seed, size: size}
	if size >= 2048 {
		l.body = size - 512 - 1024 // header, end of archive; what is behind the end is ignored
		l.body -= l.body % 512
		l.head = tarHeader(fmt.Sprintf("noise-%d", seed), l.body)
	} else {
		l.body = size
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, l.reader()); err != nil {
		panic(err) // neither side can fail
	}
	l.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	return l
}

func tarHeader(name string, size int64) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatUSTAR}); err != nil {
		panic(err) // the header is ours
	}
	return b.Bytes()
}

func (l *layer) reader() io.ReadSeeker { return io.NewSectionReader(l, 0, l.size) }

// ReadAt computes the bytes at off.
func (l *layer) ReadAt(p []byte, off int64) (int, error) {
	if off >= l.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), l.size-off))
	start, end := int64(len(l.head)), int64(len(l.head))+l.body
	for i := 0; i < n; {
		at := off + int64(i)
		switch {
		case at < start:
			i += copy(p[i:n], l.head[at:])
		case at < end:
			i += l.noise(p[i:min(n, i+int(min(end-at, 1<<20)))], at-start)
		default:
			clear(p[i:n])
			i = n
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// noise fills p with the file's bytes from at on: word i is a hash of seed
// and i (splitmix64), so that every offset is as cheap as the first. It
// touches p only, and checking each of its words for races costs seconds.
//
//go:norace
func (l *layer) noise(p []byte, at int64) int {
	var word [8]byte
	n := 0
	for n < len(p) {
		i := (uint64(at) + uint64(n)) / 8
		z := l.seed*0xd1342543de82ef95 + (i+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		skip := (at + int64(n)) % 8
		if skip == 0 && len(p)-n >= 8 {
			binary.LittleEndian.PutUint64(p[n:], z)
			n += 8
			continue
		}
		binary.LittleEndian.PutUint64(word[:], z)
		n += copy(p[n:], word[skip:])
	}
	return n
}

// Digest and the rest make it a v1.Layer.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the digest too: nothing is compressed.
func (l *layer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Compressed gives the bytes.
func (l *layer) Compressed() (io.ReadCloser, error) { return io.NopCloser(l.reader()), nil }

// Uncompressed gives the same bytes.
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

// Size is what was asked for.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType is a tar.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// Image is an OCI image for linux/amd64 whose layers have the given sizes;
// the same seed gives the same digests.
func Image(t T, seed uint64, sizes ...int64) v1.Image {
	t.Helper()
	return image(t, "amd64", types.OCIManifestSchema1, seed, sizes)
}

// DockerImage is one in Docker's own media types.
func DockerImage(t T, seed uint64, sizes ...int64) v1.Image {
	t.Helper()
	return image(t, "amd64", types.DockerManifestSchema2, seed, sizes)
}

func image(t T, arch string, kind types.MediaType, seed uint64, sizes []int64) v1.Image {
	t.Helper()
	config := types.OCIConfigJSON
	layerType := types.OCIUncompressedLayer
	if kind == types.DockerManifestSchema2 {
		config, layerType = types.DockerConfigJSON, types.DockerUncompressedLayer
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, kind), config)
	var adds []mutate.Addendum
	for i, size := range sizes {
		adds = append(adds, mutate.Addendum{Layer: Layer(seed*1000+uint64(i), size), MediaType: layerType})
	}
	img, err := mutate.Append(img, adds...)
	if err != nil {
		t.Fatalf("world: make image: %v", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatalf("world: make image: %v", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Created = v1.Time{Time: time.Date(2025, 6, 2, 8, 0, 0, 0, time.UTC)}
	file.Config.Labels = map[string]string{"seed": fmt.Sprint(seed)}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatalf("world: make image: %v", err)
	}
	return img
}

// Index is an OCI index of images for linux/amd64 and linux/arm64, each with
// layers of the given sizes and of its own bytes.
func Index(t T, seed uint64, sizes ...int64) v1.ImageIndex {
	t.Helper()
	return index(t, types.OCIImageIndex, types.OCIManifestSchema1, seed, sizes)
}

// DockerList is one in Docker's own media types.
func DockerList(t T, seed uint64, sizes ...int64) v1.ImageIndex {
	t.Helper()
	return index(t, types.DockerManifestList, types.DockerManifestSchema2, seed, sizes)
}

func index(t T, kind, child types.MediaType, seed uint64, sizes []int64) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, kind)
	for i, arch := range []string{"amd64", "arm64"} {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        image(t, arch, child, seed*10+uint64(i), sizes),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return idx
}
