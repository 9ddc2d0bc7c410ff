package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/proxy"
)

// verifyCommand rehashes what is held: in this process, or in the one that is serving from the same directory.
func (p program) verifyCommand(given commandLine, flags []cli.Flag) *cli.Command {
	rate := &cli.StringFlag{Name: "rate", Usage: "read no more than `SIZE` a second, such as 100MiB", DefaultText: "as fast as the disk"}
	return &cli.Command{
		Name: "verify", Usage: "rehash the whole cache and drop what is damaged", Flags: append([]cli.Flag{rate}, flags...),
		Description: "The exit status is 0 when nothing was damaged, 2 when something was, 1 when it could not be looked at.",
		Action: func(c *cli.Context) error {
			var limit int64
			if text := c.String("rate"); text != "" {
				s, err := parseSize(text)
				if err != nil || s.percent > 0 {
					return withHint("units are kB MB GB (1000) and KiB MiB GiB (1024)", "--rate: got %q, want a size such as 100MiB", text)
				}
				limit = s.bytes
			}
			return p.with(given, func(_ sources, cfg config) error { return p.verify(cfg, limit) })(c)
		},
	}
}

// errDamage is told by the exit code alone: what it is stands on stdout.
var errDamage = errors.New("something was damaged")

func (p program) verify(c config, rate int64) error {
	if err := wantCache(c.DataDir); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	bar := progressBar{w: p.stderr, live: isTerminal(p.stderr)}
	last, err := p.verifyHere(ctx, c, rate, bar.show)
	if errors.Is(err, errInUse) {
		last, err = verifyThere(ctx, c, rate, bar.show)
	}
	bar.end()
	if err != nil {
		return err
	}
	for _, d := range last.Damaged {
		became := "dropped"
		if slices.Contains(last.Repaired, d) {
			became = "fetched anew"
		}
		fmt.Fprintf(p.stdout, "damaged and %s: %s\n", became, d)
	}
	_, err = fmt.Fprintf(p.stdout, "%d objects, %s: %d damaged%s\n", last.Objects, humanBytes(float64(last.Bytes)), len(last.Damaged), comfort(last))
	if err == nil && len(last.Damaged) > 0 {
		return errDamage
	}
	return err
}

// wantCache refuses to look for damage where nothing is: a mistyped directory would be made, and found to be in order.
func wantCache(dataDir string) error {
	const hint = "name the directory that entrepot serves from with --data-dir DIR (ENTREPOT_DATA_DIR)"
	info, err := os.Stat(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return withHint(hint, "verify: there is no data directory %s", dataDir)
	case err != nil || !info.IsDir():
		return nil // what is wrong with it is said by whoever opens it
	}
	for _, name := range []string{"cache", "ca"} { // the CA may be older than the first start
		if _, err := os.Stat(filepath.Join(dataDir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return withHint(hint, "verify: %s is no data directory of entrepot: there is neither a cache nor a CA in it", dataDir)
}

func comfort(last proxy.Progress) string {
	switch left := len(last.Damaged) - len(last.Repaired); {
	case len(last.Damaged) == 0:
		return ""
	case left == 0:
		return ", all fetched anew"
	case len(last.Repaired) == 0:
		return "; they are fetched anew when they are asked for"
	default:
		return fmt.Sprintf(", %d fetched anew, the others when they are asked for", len(last.Repaired))
	}
}

// verifyHere opens the store itself, which only the one process that holds the lock may do. It evicts nothing: the limits of the
// process that serves may be others than what this one was told.
func (p program) verifyHere(ctx context.Context, c config, rate int64, show func(proxy.Progress)) (proxy.Progress, error) {
	lock, err := openDataDir(c.DataDir)
	if err != nil {
		return proxy.Progress{}, err
	}
	defer lock.Close()
	store, err := openStore(c.DataDir, cache.Config{MaxSize: math.MaxInt64, MinFree: noFloor})
	if err != nil {
		return proxy.Progress{}, err
	}
	defer store.Close()
	v, err := store.Verify(ctx, cache.VerifyOptions{Rate: rate, Progress: func(v cache.Verification) { show(proxy.ProgressOf(v)) }})
	return proxy.ProgressOf(v), err
}

// verifyThere asks the process that is serving, by its admin door.
func verifyThere(ctx context.Context, c config, rate int64, show func(proxy.Progress)) (last proxy.Progress, err error) {
	addr := c.adminAddress()
	if addr == "" {
		return last, withHint("start it with --admin-listen, or stop it first", "verify: %s is in use by an entrepot whose admin door is off", c.DataDir)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/api/verify?rate=%d", addr, rate), nil)
	if err != nil {
		return last, err
	}
	bearAdminToken(req, c.DataDir)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return last, withHint("say where its admin door is with --admin-listen", "verify: ask the entrepot that serves from %s: %w", c.DataDir, err)
	}
	defer resp.Body.Close()
	if err := wantProgress(resp, addr, c.DataDir); err != nil {
		return last, err
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return last, fmt.Errorf("verify: the entrepot at %s answers: %w", addr, err)
		}
		show(last)
	}
	switch {
	case last.Error != "":
		return last, errors.New(last.Error)
	case !last.Done:
		return last, fmt.Errorf("verify: the entrepot at %s ended before the check did", addr)
	}
	return last, nil
}

// wantProgress tells what an answer that is no progress says: the admin door's own words, or that something else answers.
func wantProgress(resp *http.Response, addr, dataDir string) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusOK && kind == "application/x-ndjson":
		return nil
	case resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed && kind == "text/plain":
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("verify: the entrepot at %s answers: %s", addr, strings.TrimSpace(string(text)))
	}
	return withHint("say where its admin door is with --admin-listen",
		"verify: what answers at %s is not the admin door of the entrepot that serves from %s (got %s)", addr, dataDir, resp.Status)
}

// progressBar shows on a terminal how far a long work has come, in one line that is written over.
type progressBar struct {
	w    io.Writer
	live bool
	any  bool
}

const barWidth = 30

func (b *progressBar) show(p proxy.Progress) {
	if !b.live || p.TotalBytes == 0 {
		return
	}
	b.any = true
	part := min(1, float64(p.Bytes)/float64(p.TotalBytes))
	full := int(part * barWidth)
	fmt.Fprintf(b.w, "\r[%s%s] %3.0f %%  %s of %s  %d damaged ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		part*100, humanBytes(float64(p.Bytes)), humanBytes(float64(p.TotalBytes)), len(p.Damaged))
}

func (b *progressBar) end() {
	if b.any {
		fmt.Fprintln(b.w)
	}
}
