package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

func (p program) verify(c config, rate int64) error {
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
	return err
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

// verifyHere opens the store itself, which only the one process that holds the lock may do.
func (p program) verifyHere(ctx context.Context, c config, rate int64, show func(proxy.Progress)) (proxy.Progress, error) {
	lock, err := openDataDir(c.DataDir)
	if err != nil {
		return proxy.Progress{}, err
	}
	defer lock.Close()
	store, err := cache.Open(filepath.Join(c.DataDir, "cache"), cache.Config{})
	if err != nil {
		return proxy.Progress{}, err
	}
	defer store.Close()
	v, err := store.Verify(ctx, cache.VerifyOptions{Rate: rate, Progress: func(v cache.Verification) { show(proxy.ProgressOf(v)) }})
	return proxy.ProgressOf(v), err
}

// verifyThere asks the process that is serving, by its admin door.
func verifyThere(ctx context.Context, c config, rate int64, show func(proxy.Progress)) (last proxy.Progress, err error) {
	addr := c.Listen[adminDoor]
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
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return last, fmt.Errorf("verify: the entrepot at %s answers: %s", addr, strings.TrimSpace(string(text)))
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
