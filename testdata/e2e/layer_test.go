//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/build"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// layer is a gzipped tar on disk, made of files of this machine.
type layer struct {
	path   string
	digest string // of the file: "sha256:…"
	diffID string // of the tar in it
	size   int64
}

// errFull ends a walk when the layer is as large as it is meant to be.
var errFull = errors.New("layer is full")

// smallFile is a size that may go over a layer's limit.
const smallFile = 64 << 10

// goSource is the place of the Go source tree: text that compresses well.
func goSource() string { return filepath.Join(build.Default.GOROOT, "src") }

// packer writes a layer: tar, through one hash into gzip, through another
// hash into the file.
type packer struct {
	tar       *tar.Writer
	gzip      *gzip.Writer
	file      *os.File
	tarHash   hash.Hash
	fileHash  hash.Hash
	limit     int64
	fileBytes int64
}

// pack fills a file with regular files below the roots, in the order of their
// names, until it has at least limit bytes. Too few files are an error.
func pack(path string, limit int64, level int, roots ...string) (layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return layer{}, err
	}
	defer func() { _ = f.Close() }() // Sync in finish tells of lost bytes
	p := &packer{file: f, tarHash: sha256.New(), fileHash: sha256.New(), limit: limit}
	if p.gzip, err = gzip.NewWriterLevel(p, level); err != nil {
		return layer{}, err
	}
	p.tar = tar.NewWriter(io.MultiWriter(p.gzip, p.tarHash))
	for _, root := range roots {
		if err = filepath.WalkDir(root, p.add); err != nil {
			break
		}
	}
	if !errors.Is(err, errFull) {
		return layer{}, fmt.Errorf("pack %s: %w", path, errors.Join(err, fmt.Errorf("got %d of %d bytes", p.fileBytes, limit)))
	}
	return p.finish(path)
}

// Write is the way of the compressed bytes.
func (p *packer) Write(b []byte) (int, error) {
	p.fileHash.Write(b)
	n, err := p.file.Write(b)
	p.fileBytes += int64(n)
	return n, err
}

func (p *packer) add(path string, entry fs.DirEntry, err error) error {
	if err != nil || !entry.Type().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > max(p.limit-p.fileBytes, smallFile) {
		return nil // would make the layer much larger than asked for
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.Name = path[1:]
	header.Mode &= 0o777 // no set-uid programs in the images
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.Copy(p.tar, f); err != nil {
		return err
	}
	if p.fileBytes >= p.limit {
		return errFull
	}
	return nil
}

func (p *packer) finish(path string) (layer, error) {
	if err := errors.Join(p.tar.Close(), p.gzip.Close(), p.file.Sync()); err != nil {
		return layer{}, err
	}
	return layer{path: path, digest: digestOf(p.fileHash), diffID: digestOf(p.tarHash), size: p.fileBytes}, nil
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
