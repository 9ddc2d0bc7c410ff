// Package cache keeps blobs that are exactly their digest, and remembers which digest a tag had, and when.
//
// The one invariant: what stands under its digest in blobs/ has been hashed, has been synced and is that digest. Everything else
// (partials, tags, the order of use) may be lost at any moment and costs a transfer, never a wrong byte. There is no index file:
// the existence of the final name is the index, and all accounting is rebuilt by a scan.
//
// The package knows nothing of HTTP or of who may read what. All it knows of the outside world is a [Fetch].
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Config says how a Store behaves; the zero value is a working default.
type Config struct {
	// MaxSize bounds the bytes of all content, partials and promised bytes included. Zero means 80 % of the volume.
	MaxSize int64
	// MinFree is how many bytes of the volume are left free, whatever MaxSize says: what is held makes way within 10 seconds when
	// something else fills the volume. Zero means 1 GiB or 2 % of the volume, whichever is smaller; a negative value means no floor.
	MinFree int64
	// IdleTimeout is how long a transfer may bring no byte before it is broken off and resumed. Zero means 60 seconds.
	IdleTimeout time.Duration
	// Report is told what the store could not do and lived with: a file that could not be written, a damaged one that was dropped.
	// That there is no room is told once a minute. Nil means silence. It is called from several goroutines.
	Report func(what string, err error)
}

// withDefaults is cfg with nothing left at zero.
func (cfg Config) withDefaults(dir string) Config {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = volumeSize(dir) / 100 * 80
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = min(1<<30, volumeSize(dir)/100*2)
	}
	cfg.MinFree = max(0, cfg.MinFree)
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = time.Minute
	}
	if cfg.Report == nil {
		cfg.Report = func(string, error) {}
	}
	return cfg
}

// Store is a content-addressed store on one directory. One process owns the directory at a time.
type Store struct {
	dir       layout
	disk      disk
	index     *index
	trusted   *lru.Cache[Digest, struct{}] // files that this process has seen to be their digest
	tags      tags
	probed    *lru.Cache[Digest, probed]
	report    func(string, error)
	minFree   int64
	tight     tight
	idle      time.Duration
	stretches stretches
	notePause time.Duration // of a fill between two notes
	now       func() time.Time
	opened    time.Time // what is older and unfinished belongs to nobody any more
	scanned   chan struct{}
	counts    Counts
	pieces    sync.Pool   // of *[piece]byte: without it a small miss leaves 280 KB of garbage, not 18; a layer gains nothing
	blind     atomic.Bool // the disk takes no times of use, and that was reported

	ctx    context.Context // of all fills; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // fills, the scan and checks; Close waits for them
	upkeep sync.WaitGroup // keepFloor, which goes on until Close

	mu       sync.Mutex
	fills    map[Digest]*fill
	suspects map[Digest]bool

	ingest sync.Mutex // held while a partial is taken over or removed, so that nobody removes what was just taken over
}

// Counts are running totals since Open.
type Counts struct {
	Evictions      atomic.Int64 // objects removed to make room
	Mismatches     atomic.Int64 // bodies that were not their digest
	Uncached       atomic.Int64 // transfers that went through without being kept, because the disk would not take them
	Damaged        atomic.Int64 // objects dropped because they were not what they must be
	DeleteFailures atomic.Int64 // files that could not be deleted; each will be tried again
	Probes         atomic.Int64 // small ranges passed through, see Store.Probe
}

// Usage is what the store holds at a moment.
type Usage struct {
	Objects, Bytes, Limit int64
	Fills                 int   // transfers under way
	Reserved              int64 // bytes promised to them
	Partials              int64 // bytes of broken transfers, kept for their resume
	Pinned                int64 // bytes of objects that are being read
	Stuck                 int64 // objects that should be gone but could not be deleted yet
	Scanned               bool  // what an earlier process left is accounted for
}

// Open makes or takes over the store below dir. It returns at once: the scan that accounts for what is there runs behind, and
// hits do not wait for it.
func Open(dir string, cfg Config) (*Store, error) {
	return openOn(realDisk(), dir, cfg)
}

func openOn(disk disk, dir string, cfg Config) (*Store, error) {
	l := newLayout(dir)
	opened, err := l.make()
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	cfg = cfg.withDefaults(dir)
	s := &Store{
		dir: l, opened: opened, disk: disk, report: cfg.Report, minFree: cfg.MinFree, idle: cfg.IdleTimeout, now: time.Now, tags: newTags(),
		fills: map[Digest]*fill{}, suspects: map[Digest]bool{}, scanned: make(chan struct{}), probed: newProbed(),
		stretches: usualStretches(), notePause: notePause,
	}
	s.trusted, _ = lru.New[Digest, struct{}](trustedInMemory) // errs on a size below one only
	s.index = newIndex(cfg.MaxSize, func() time.Time { return s.now() })
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.scan)
	s.upkeep.Go(s.keepFloor)
	return s, nil
}

// Close ends all fills, keeps their partials for the next start, and waits for everything the store started. Blobs of complete
// content stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	s.cancel() // under the lock, so that nothing begins that Wait would not see
	s.mu.Unlock()
	s.work.Wait()
	s.upkeep.Wait()
	return nil
}

// piece is a buffer; it goes back to s.pieces.
func (s *Store) piece() *[piece]byte {
	if p, ok := s.pieces.Get().(*[piece]byte); ok {
		return p
	}
	return new([piece]byte)
}

// Counts are the running totals; they may be read at any time.
func (s *Store) Counts() *Counts { return &s.counts }

// Usage tells what is held now. Before the scan has ended it tells less than there is.
func (s *Store) Usage() Usage {
	u := s.index.usage()
	s.mu.Lock()
	u.Fills = len(s.fills)
	s.mu.Unlock()
	return u
}

// Lookup opens complete content, also while it is just being committed: who has read a fill to its end finds it held. A miss is
// fs.ErrNotExist, and so is content that was found damaged. The caller closes the Blob.
func (s *Store) Lookup(d Digest) (*Blob, error) { return s.lookup(context.Background(), d, nil) }

// lookup is Lookup for a client that has a way to upstream, for what the disk does not give back.
func (s *Store) lookup(ctx context.Context, d Digest, up *Source) (*Blob, error) {
	b, err := s.open(ctx, d, up)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b := s.committing(d); b != nil {
		return b, nil
	}
	return s.open(ctx, d, up) // its commit may have ended between the two looks
}

// committing is the content of a fill that has all its bytes and has verified them, but has not given them their name yet.
func (s *Store) committing(d Digest) *Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.fills[d]
	if !ok || !f.isVerified() {
		return nil
	}
	src := &Source{Fetch: func(context.Context, int64, int64) (*Stream, error) { return nil, fs.ErrNotExist }}
	f.hold(src)
	r := &growing{ctx: context.Background(), fill: f, source: src} // nothing of it has to be waited for
	return &Blob{ReadSeekCloser: r, Digest: d, Size: f.length(), MediaType: f.mediaType, Outcome: Hit}
}

// open opens what stands under its final name.
func (s *Store) open(ctx context.Context, d Digest, up *Source) (*Blob, error) {
	f, err := os.Open(s.dir.blob(d))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.missing(d)
		}
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob %s: %w: %w", d, err, fs.ErrNotExist)
	}
	if err := s.checkSize(d, info.Size()); err != nil {
		f.Close()
		s.drop(d, err)
		return nil, fmt.Errorf("open blob %s: %w: %w", d, err, fs.ErrNotExist)
	}
	s.index.pin(d, info.Size())
	s.markUsed(d, info)
	h := &held{file: f, store: s, digest: d, size: info.Size(), ctx: ctx, source: up}
	var r io.ReadSeekCloser = h
	if !s.trusted.Contains(d) {
		r = &checked{held: h, sum: d.hash()}
	}
	return &Blob{ReadSeekCloser: r, Digest: d, Size: info.Size(), Outcome: Hit}, nil
}

// missing takes d out of the account, into which somebody may be putting it at this moment.
func (s *Store) missing(d Digest) {
	if !s.index.has(d) {
		return
	}
	if !s.onDisk(d) {
		s.index.remove(d)
	}
}

// useInterval is how exact the order of use is kept on disk: a hit moves a file's time at most this often, because a write to the
// disk for each read would cost more than a slightly wrong eviction order after a restart (as in cmd/go's cache).
const useInterval = time.Hour

func (s *Store) markUsed(d Digest, info fs.FileInfo) {
	now := s.now()
	if now.Sub(info.ModTime()) < useInterval {
		return
	}
	err := os.Chtimes(s.dir.blob(d), now, now)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !s.blind.Swap(true) {
		s.report("note times of use", err)
	}
}

// Blob gives the content of d: what is held, else the fill that is under way, else a new fill from up, whose transfer belongs
// to the store and goes on when ctx ends. It returns when the size is known, long before the last byte. The caller closes the Blob.
// Whether the caller may have d at all must be settled before: with a hit or a join, up is not asked.
//
// When the fill that somebody else started fails for reasons of theirs alone (see [Personal]), up is tried in its place. When
// the disk does not take the content, the Blob comes straight from up and is not kept; when it does not give back what is held, the
// Blob goes on with what up has, fetched again.
func (s *Store) Blob(ctx context.Context, d Digest, up Source) (*Blob, error) {
	if b, err := s.lookup(ctx, d, &up); err == nil {
		return b, nil
	}
	return s.bring(ctx, d, up)
}

// bring joins the fill of d or starts one, whatever is held.
func (s *Store) bring(ctx context.Context, d Digest, up Source) (*Blob, error) {
	for {
		src := &Source{up.Fetch, up.Parallel} // one of its own for each try, since it stands for a reader
		f, outcome, err := s.join(d, src)
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", d, err)
		}
		b, err := f.blob(ctx, src, outcome)
		if outcome == Collapsed && Personal(err) {
			continue
		}
		return b, err
	}
}

// join finds the fill of d or starts one. It does no I/O, since every miss passes here under one lock: whether d has meanwhile
// become complete is for the fill to find out.
func (s *Store) join(d Digest, src *Source) (*fill, Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.fills[d]; ok {
		f.hold(src)
		return f, Collapsed, nil
	}
	if s.ctx.Err() != nil {
		return nil, Miss, errClosed
	}
	f := newFill(s, d, src)
	s.fills[d] = f
	f.hold(src)
	s.work.Go(f.run)
	return f, Miss, nil
}

var errClosed = errors.New("the cache is closed")

// forget takes a fill that has ended off the list. From then on its digest is found by name, or fetched anew.
func (s *Store) forget(f *fill) {
	s.mu.Lock()
	delete(s.fills, f.digest)
	s.mu.Unlock()
}
