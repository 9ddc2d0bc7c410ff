// Program bench runs entrepot and other caches side by side on the same work, and writes a table of what each of them needed.
//
// All of them stand in front of one origin that plays a registry, in this process; the clients are in this process too. What is
// compared is therefore never absolute: the servers take turns within each round, and the table says by what factor they differ.
// CPU seconds are those of the server's processes alone, so that the cost of origin and clients does not enter them.
//
// It is no test: it fails only where a server does not start or answers wrongly, and by -gate. Run it by `make bench`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := func() error { return run(ctx, os.Args[1:], os.Stdout) }
	if len(os.Args) > 1 && os.Args[1] == floorCommand {
		work = func() error { return runFloor(os.Args[2:]) }
	}
	if len(os.Args) > 1 && os.Args[1] == kernelCommand {
		work = func() error { return runKernel(os.Args[2:]) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what one can ask for on the command line.
type options struct {
	pattern  string
	only     *regexp.Regexp // the same, for the names of scenarios
	servers  []string       // by name; empty: all that are installed
	rounds   int
	objects  int // of the restart scenario
	entrepot string
	other    string // another build of it, or ""
	tools    string // where the install script put what is built from source
	scratch  string
	out      string // a Markdown file; "" for none
	gate     string // the file with the last ratios to compare with; "" for no comparison
	note     string // the file to write them to; "" for none
	keep     bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.pattern, "scenarios", ".", "run those whose name matches this `pattern`")
	servers := flags.String("servers", "",
		"`names` with commas between them, of entrepot, outside, parallel, nginx, floor, kernel, registry, squid, direct; empty: all that are installed")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each scenario is run")
	flags.IntVar(&o.objects, "objects", allObjects, "how many objects there are at a restart")
	flags.StringVar(&o.entrepot, "entrepot", "bin/entrepot", "the `program` to measure")
	flags.StringVar(&o.other, "other", "", "another build of the `program`, to be measured beside it under the name other")
	flags.StringVar(&o.tools, "tools", "bin/tools", "the `directory` with registry in it")
	flags.StringVar(&o.scratch, "scratch", os.TempDir(), "a `directory` on the disk to measure, with 10 GB free")
	flags.StringVar(&o.out, "out", "", "write the tables to this `file`, in place of those that are there")
	flags.StringVar(&o.gate, "gate", "",
		"compare with the ratios in this `file`, and fail where one has become worse, or a scenario is only here or only there")
	flags.StringVar(&o.note, "note", "", "write the ratios to this `file`, for the next -gate")
	flags.BoolVar(&o.keep, "keep", false, "keep what the servers wrote")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *servers != "" {
		o.servers = strings.Split(*servers, ",")
	}
	var err error
	if o.scratch, err = filepath.Abs(o.scratch); err != nil {
		return o, err
	}
	if o.only, err = regexp.Compile("^(" + o.pattern + ")"); err != nil {
		return o, fmt.Errorf("-scenarios: %w", err)
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds: want at least 1")
	}
	return o, nil
}

// allObjects is how many there are at a restart unless one asks for others.
const allObjects = 1_000_000

// command is how to measure the same again. Where another build is kept is of no interest to others; which one it is stands beside it.
func (o options) command() string {
	var flags []string
	if len(o.servers) > 0 {
		flags = append(flags, "-servers "+strings.Join(o.servers, ","))
	}
	if o.other != "" {
		flags = append(flags, "-other OLD")
	}
	if o.objects != allObjects {
		flags = append(flags, fmt.Sprintf("-objects %d", o.objects))
	}
	said := fmt.Sprintf("BENCH='%s' ROUNDS=%d OUT=%s", o.pattern, o.rounds, o.out)
	if len(flags) > 0 {
		said += " FLAGS='" + strings.Join(flags, " ") + "'"
	}
	return said + " make bench"
}

func run(ctx context.Context, args []string, progress io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var g *gate
	if o.gate != "" {
		if g, err = openGate(o.gate, progress); err != nil {
			return err
		}
	}
	scratch, err := os.MkdirTemp(o.scratch, "entrepot-bench-")
	if err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(scratch)
	}
	// Squid gives up root and must still find its files.
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	b, err := newBed(ctx, o, scratch, progress)
	if err != nil {
		return err
	}
	defer b.close()
	tables, err := b.runAll()
	if err != nil {
		err = fmt.Errorf("%w; the logs are in %s if -keep was given", err, scratch)
	} else if len(tables) == 0 {
		err = errors.New("no scenario has such a name")
	}
	err = errors.Join(err, finish(o, tables)) // what was measured before is not lost
	if err != nil || g == nil {
		return err
	}
	return g.judge(tables, b.again)
}

// finish writes the tables where they were asked for.
func finish(o options, tables []table) error {
	if o.out != "" {
		if err := writeReport(filepath.Clean(o.out), o, tables); err != nil {
			return err
		}
	}
	if o.note != "" {
		return writeRatios(o.note, tables)
	}
	return nil
}
