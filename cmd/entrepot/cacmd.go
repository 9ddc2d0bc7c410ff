package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/entrepot/entrepot/ca"
)

// caCommand is all about the CA. None of it needs a running server, and one that runs reads what was
// changed at SIGHUP.
func (p program) caCommand(given commandLine, flags []cli.Flag) *cli.Command {
	with := func(own ...cli.Flag) []cli.Flag { return append(own, flags...) }
	return &cli.Command{
		Name: "ca", Usage: "the CA that clients must trust", Action: p.noCommand, Subcommands: []*cli.Command{
			{Name: "show", Usage: "print path, fingerprint and end date", Flags: flags, Action: p.with(given, p.caShow)},
			{
				Name: "init", Usage: "make the CA before the first start", Action: p.withWords(given, p.caInit),
				Flags: with(&cli.BoolFlag{Name: "constrain", Usage: "limit it to the hosts of the registries that are intercepted"}),
			},
			{
				Name: "export", Usage: "print what clients must trust, never the key", Action: p.withWords(given, p.caExport),
				Flags: with(
					&cli.StringFlag{Name: "out", Usage: "`FILE` to write; - is stdout", Value: "-"},
					&cli.StringFlag{Name: "format", Usage: "`FORM` of it: pem or der", Value: "pem"},
				),
			},
			{
				Name: "install", Usage: "put it into the trust store of this machine", Action: p.withWords(given, p.caInstall),
				Flags: with(
					&cli.BoolFlag{Name: "remove", Usage: "take it out"},
					&cli.StringFlag{Name: "from", Usage: "`FILE` that was exported, on a machine without the data directory; PEM"},
					&cli.StringFlag{Name: "root", Usage: "`DIR` of another system, such as the tree of an image", Value: "/"},
				),
			},
			{
				Name: "rotate", Usage: "let another root follow, in three steps that lock no client out", Action: p.withWords(given, p.caRotate),
				Flags: with(
					&cli.BoolFlag{Name: "switch", Usage: "the second step: the new root signs, both are given out"},
					&cli.BoolFlag{Name: "back", Usage: "undo the second step"},
					&cli.BoolFlag{Name: "finish", Usage: "the third step: the old root and its key go"},
					&cli.BoolFlag{Name: "constrain", Usage: "limit the new root as ca init --constrain does; without this, if the root before it is limited"},
				),
			},
		},
	}
}

// caShow reads only certificates: whoever asks need not be allowed to read the key, and nothing is made
// by looking.
func (p program) caShow(_ sources, c config) error {
	now, err := c.publicCA()
	if err != nil {
		return err
	}
	table, err := c.table()
	if err != nil {
		return err
	}
	p.warn(cautions(now, table, time.Now()))
	fmt.Fprint(p.stdout, card(now))
	if now.Phase != ca.Steady {
		fmt.Fprintf(p.stdout, "\nchange-over  %s; %s\n", now.Phase, now.Phase.Next())
	}
	return nil
}

// publicCA are the certificates in the files, whether or not a server has read them.
func (c config) publicCA() (ca.Public, error) {
	now, err := ca.Look(c.caConfig())
	if errors.Is(err, fs.ErrNotExist) && c.CACert == "" {
		return now, withHint("it is made by the first `entrepot serve`, or by `entrepot ca init`; --data-dir names another place", "%w", err)
	}
	return now, err
}

// card is what people compare and wait for in the CA's roots, that which signs first.
func card(now ca.Public) string {
	var b strings.Builder
	for i, r := range now.Roots {
		name := "certificate"
		switch {
		case i > 0 && now.Phase == ca.Announced:
			name = "next"
		case i > 0:
			name = "old"
		}
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%-12s %s\nsha256       %s\nvalid until  %s\n", name, r.File, r.Fingerprint(), r.Cert.NotAfter.Format(time.RFC3339))
		if l := r.Limits(); l.Any() {
			fmt.Fprintf(&b, "limited to   %s\n", strings.Join(hostsOf(l), ", "))
		}
	}
	return b.String()
}

// caExport gives certificates away. In a change-over it is both, since clients must trust both then.
func (p program) caExport(c *cli.Context, cfg config) error {
	now, err := cfg.publicCA()
	if err != nil {
		return err
	}
	content := now.PEM()
	switch form := c.String("format"); {
	case form == "pem":
	case form != "der":
		return withHint("", "--format: got %q, want pem or der", form)
	case len(now.Roots) > 1:
		return withHint("export it as PEM, or wait for `entrepot ca rotate --finish`",
			"ca export: DER holds one certificate, and in a change-over clients must trust %d", len(now.Roots))
	default:
		content = now.Roots[0].Cert.Raw
	}
	out := c.String("out")
	if out == "-" {
		_, err = p.stdout.Write(content)
		return err
	}
	return writePublic(out, content)
}

// writePublic writes a file for everybody, and not over the one that is for nobody else.
func writePublic(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && strings.Contains(string(old), "PRIVATE KEY") {
		return withHint("name another file", "ca export: %s holds a private key", path)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("ca export: %w", err)
	}
	return nil
}
