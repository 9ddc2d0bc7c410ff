package cache

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestModel does random things to a store, and after each of them compares it with what a map would say.
func TestModel(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		checks.Value.Set("12") // the default of 100 takes a minute with the race detector; give the flag for more
	}
	synctest.Test(t, func(t *testing.T) {
		// A bubble has no deadline, which rapid would ask for.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			dir, err := os.MkdirTemp("", "model")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			m := &model{dir: dir, tags: map[Key]Tag{}}
			for i := range 6 {
				m.objects = append(m.objects, newUpstream(i*90<<10))
			}
			m.restart(t)
			defer func() { m.store.Close() }()
			t.Repeat(map[string]func(*rapid.T){
				"pull": m.pull, "range": m.rangeOf, "put": m.put, "remove": m.remove, "truncate": m.truncate,
				"rot": m.rot, "tag": m.tag, "disk": m.breakDisk, "restart": m.reopen, "": m.check,
			})
		})
	})
}

type model struct {
	dir     string
	store   *Store
	objects []*upstream
	tags    map[Key]Tag
	broken  diskFault
}

// diskFault is what is wrong with the model's disk; the zero value is nothing.
type diskFault struct {
	open, sync, rename error
	write              error // of what goes beyond full
	full               int64
}

// modelFile is a file of that disk.
type modelFile struct {
	file
	m *model
}

func (f modelFile) WriteAt(p []byte, at int64) (int, error) {
	if b := f.m.broken; b.write != nil && at+int64(len(p)) > b.full {
		return 0, b.write
	}
	return f.file.WriteAt(p, at)
}

func (f modelFile) Sync() error {
	if f.m.broken.sync != nil {
		return f.m.broken.sync
	}
	return f.file.Sync()
}

func (m *model) disk() disk {
	d := realDisk()
	d.open = func(name string) (file, error) {
		if m.broken.open != nil {
			return nil, m.broken.open
		}
		f, err := realDisk().open(name)
		return modelFile{f, m}, err
	}
	d.rename = func(from, to string) error {
		if m.broken.rename != nil {
			return m.broken.rename
		}
		return os.Rename(from, to)
	}
	return d
}

// breakDisk breaks it in one of several ways, or mends it. Pulls are to succeed all the same.
func (m *model) breakDisk(t *rapid.T) {
	m.broken = rapid.SampledFrom([]diskFault{
		{},
		{open: syscall.EROFS},
		{write: syscall.ENOSPC},
		{write: syscall.ENOSPC, full: 100 << 10},
		{write: syscall.EIO, full: 200 << 10},
		{sync: syscall.EIO},
		{rename: syscall.EROFS},
	}).Draw(t, "disk")
}

const modelLimit = 1 << 20 // of the 1.3 MiB of all objects together

func (m *model) restart(t *rapid.T) {
	s, err := openOn(m.disk(), m.dir, Config{MaxSize: modelLimit, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	m.store = s
	s.stretches = smallStretches()
	<-s.scanned
}

func (m *model) reopen(t *rapid.T) {
	m.store.Close()
	m.restart(t)
}

func (m *model) pick(t *rapid.T) *upstream {
	return m.objects[rapid.IntRange(0, len(m.objects)-1).Draw(t, "object")]
}

// fault is an upstream like up with something wrong; ok tells whether a pull must succeed all the same.
func (m *model) fault(t *rapid.T, up *upstream) (faulty *upstream, ok bool) {
	faulty = &upstream{content: up.content, parallel: rapid.IntRange(0, 4).Draw(t, "parallel")}
	at := int64(rapid.IntRange(0, max(1, len(up.content))).Draw(t, "at"))
	switch rapid.SampledFrom([]string{"none", "none", "cut", "dead", "refused", "corrupt", "short", "no ranges", "no size"}).Draw(t, "fault") {
	case "cut":
		faulty.before = cutAt(2, at)
	case "dead":
		faulty.before = cutAt(1000, at)
		return faulty, false
	case "refused":
		faulty.answer = func(int, int64, int64, *Stream) error { return personalError{} }
		return faulty, false
	case "corrupt":
		faulty.content = append(bytes.Clone(up.content), 0)
		faulty.content[min(at, int64(len(up.content)))]++
		return faulty, false
	case "short":
		faulty.content = up.content[:len(up.content)/2]
		return faulty, len(up.content) == 0
	case "no ranges":
		faulty.before = cutAt(1, at)
		faulty.answer = func(_ int, _, _ int64, st *Stream) error { noRanges(st); return nil }
	case "no size":
		faulty.answer = func(_ int, _, _ int64, st *Stream) error { st.Size = -1; return nil }
	}
	return faulty, true
}

// pull has several clients at once ask for one object, of whom some leave.
func (m *model) pull(t *rapid.T) {
	up := m.pick(t)
	faulty, ok := m.fault(t, up)
	clients := rapid.IntRange(1, 3).Draw(t, "clients")
	leave := rapid.IntRange(0, clients).Draw(t, "leavers")
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b, err := m.store.Blob(ctx, up.digest(), faulty.source())
			if err != nil {
				if ok {
					t.Errorf("open: %v", err)
				}
				return
			}
			defer b.Close()
			if i < leave {
				io.CopyN(io.Discard, b, rand.Int64N(int64(len(up.content))+1))
				return
			}
			got, err := io.ReadAll(b)
			if err == nil && !bytes.Equal(got, up.content) {
				t.Errorf("got %d other bytes as complete, outcome %v", len(got), b.Outcome)
			}
			if err != nil && ok {
				t.Errorf("read: %v", err)
			}
		})
	}
	wg.Wait()
	m.store.work.Wait()
}

func (m *model) rangeOf(t *rapid.T) {
	up := m.pick(t)
	from := rapid.IntRange(0, len(up.content)).Draw(t, "from")
	n := rapid.IntRange(0, len(up.content)-from).Draw(t, "n")
	b, err := m.store.Probe(context.Background(), up.digest(), int64(from), int64(from+n), up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Seek(int64(from), io.SeekStart)
	got, err := io.ReadAll(io.LimitReader(b, int64(n)))
	if err != nil || !bytes.Equal(got, up.content[from:from+n]) {
		t.Errorf("%d bytes from %d: got %d other bytes, %v", n, from, len(got), err)
	}
	m.store.work.Wait()
}

func (m *model) put(t *rapid.T) {
	up := m.pick(t)
	if d, err := m.store.Put(up.content, "a/b"); err != nil && m.broken.rename == nil || d != up.digest() {
		t.Errorf("got %v, %v", d, err)
	}
}

func (m *model) remove(t *rapid.T) {
	up := m.pick(t)
	if err := m.store.Remove(up.digest()); err != nil || m.store.Has(up.digest()) {
		t.Errorf("got %v, or it is still there", err)
	}
}

// truncate damages a file in a way that must be noticed at once.
func (m *model) truncate(t *rapid.T) {
	up := m.pick(t)
	if len(up.content) == 0 || os.Truncate(m.store.dir.blob(up.digest()), int64(len(up.content)/2)) != nil {
		return
	}
	if b, err := m.store.Lookup(up.digest()); err == nil {
		b.Close()
		t.Error("a truncated file is a hit")
	}
}

// rot damages a file in a way that only a check notices.
func (m *model) rot(t *rapid.T) {
	up := m.pick(t)
	name := m.store.dir.blob(up.digest())
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		return
	}
	b[0]++
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := m.store.Verify(context.Background(), VerifyOptions{})
	if err != nil || len(v.Damaged) != 1 || v.Damaged[0] != up.digest() {
		t.Errorf("got %+v, %v, want %v damaged", v, err, up.digest())
	}
}

func (m *model) tag(t *rapid.T) {
	k := Key{"r", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "repo"), "latest", ""}
	switch rapid.SampledFrom([]string{"set", "get", "forget"}).Draw(t, "do") {
	case "set":
		m.tags[k] = Tag{Digest: m.pick(t).digest(), MediaType: "a/b", Seen: time.Unix(rapid.Int64Range(0, 1e9).Draw(t, "seen"), 0).UTC()}
		if err := m.store.SetTag(k, m.tags[k]); err != nil {
			t.Error(err)
		}
	case "forget":
		delete(m.tags, k)
		m.store.ForgetTag(k)
	}
	got, err := m.store.Tag(k)
	want, ok := m.tags[k]
	if ok != (err == nil) || got != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// check compares what stands on disk, what the account says, and what the objects are.
func (m *model) check(t *rapid.T) {
	s := m.store
	u := s.Usage()
	if u.Fills != 0 || u.Reserved != 0 || u.Pinned != 0 || s.index.owed.Load() != 0 {
		t.Errorf("left over: %+v, %d owed", u, s.index.owed.Load())
	}
	if u.Bytes+u.Partials > modelLimit {
		t.Errorf("%d bytes and %d of partials are held, the limit is %d", u.Bytes, u.Partials, modelLimit)
	}
	var objects, size int64
	for _, up := range m.objects {
		b, err := os.ReadFile(s.dir.blob(up.digest()))
		if err != nil {
			continue
		}
		objects++
		size += int64(len(b))
		if !bytes.Equal(b, up.content) {
			t.Errorf("%v is not what it says", up.digest())
		}
	}
	if u.Objects != objects || u.Bytes != size {
		t.Errorf("the account says %d objects of %d bytes, the disk %d of %d", u.Objects, u.Bytes, objects, size)
	}
	left, _ := filepath.Glob(filepath.Join(m.dir, "*", ".*"))
	if len(left) > 0 {
		t.Errorf("litter: %v", left)
	}
}
