package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// app is the command line. The library parses words and prints help; which setting wins, and what is
// wrong with one, is decided in load.
func (p program) app() *cli.App {
	given := commandLine{}
	flags := given.flags(settings(newEnvironment(p.environ)))
	app := &cli.App{
		Name: "entrepot", Usage: "one cache in front of every container registry", HideVersion: true,
		Writer: p.stdout, ErrWriter: p.stderr,
		ExitErrHandler: func(*cli.Context, error) {}, // run reports
		OnUsageError:   usageError,
		Flags:          []cli.Flag{&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true}},
		Action:         p.noCommand,
		Commands: []*cli.Command{
			{Name: "serve", Usage: "open the doors", Flags: flags, Action: p.with(given, p.serve)},
			{Name: "config", Usage: "look at the configuration without starting", Action: p.noCommand, Subcommands: []*cli.Command{
				{Name: "check", Usage: "say what is wrong with the configuration, or ok", Flags: flags, Action: p.with(given, p.configCheck)},
				{Name: "show", Usage: "print what is in force, and where each value was said", Flags: flags, Action: p.with(given, p.configShow)},
			}},
			p.hostsCommand(),
			p.verifyCommand(given, flags),
			p.caCommand(given, flags),
			{Name: "version", Usage: "print the version", Action: p.printVersion},
		},
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// prepare gives a command and those below it what the library does not hand down.
func prepare(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// with makes an action of f, which wants a configuration without fault and no further words.
func (p program) with(given commandLine, f func(sources, config) error) cli.ActionFunc {
	return p.withWords(given, func(_ *cli.Context, cfg config) error { return f(p.sources(given), cfg) })
}

// withWords is with for a command that has flags of its own.
func (p program) withWords(given commandLine, f func(*cli.Context, config) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return noSuchWord(c)
		}
		cfg, err := p.sources(given).load()
		if err != nil {
			return err
		}
		return f(c, cfg)
	}
}

func noSuchWord(c *cli.Context) error {
	return withHint("settings are flags: --name value; see `"+c.Command.HelpName+" --help`",
		"%s: unexpected word %q", spelled(c), c.Args().First())
}

// spelled is the command as it is written, with the one that it belongs to: "ca rotate". The program itself has none.
func spelled(c *cli.Context) string {
	_, command, _ := strings.Cut(c.Command.HelpName, " ")
	return command
}

func (p program) sources(given commandLine) sources {
	s := sources{flags: map[string][]string{}, env: newEnvironment(p.environ)}
	for name, value := range given {
		s.flags[name] = value.said
	}
	return s
}

// noCommand is where the library ends up when no command of that name is there.
func (p program) noCommand(c *cli.Context) error {
	if !c.Args().Present() && c.Bool("version") {
		return p.printVersion(c)
	}
	if !c.Args().Present() {
		return cli.ShowSubcommandHelp(c)
	}
	var names []string
	for _, command := range c.App.Commands {
		names = append(names, command.Name)
	}
	if len(c.Command.Subcommands) > 0 {
		names = names[:0]
		for _, command := range c.Command.Subcommands {
			names = append(names, command.Name)
		}
	}
	hint := "commands are " + strings.Join(names, ", ")
	if near := nearest(c.Args().First(), names); near != "" {
		hint = "did you mean " + near + "?"
	}
	of := ""
	if command := spelled(c); command != "" {
		of = command + ": "
	}
	return withHint(hint, "%sno such command: %q", of, c.Args().First())
}

// usageError turns what the flag package says into our form.
func usageError(c *cli.Context, err error, _ bool) error {
	what := err.Error()
	name := strings.TrimPrefix(what, "flag provided but not defined: -")
	hint := fmt.Sprintf("see `%s --help`", c.Command.HelpName)
	if name == what {
		return withHint(hint, "%s", what)
	}
	var known []string
	for _, f := range c.Command.Flags {
		known = append(known, f.Names()...)
	}
	name = strings.TrimLeft(name, "-")
	if near := nearest(name, known); near != "" {
		hint = "did you mean --" + near + "?"
	} else if name == "version" || name == "v" {
		hint = "`entrepot version` prints it"
	}
	return withHint(hint, "--%s: no such flag", name)
}

// commandLine collects the flags as they were written, by name.
type commandLine map[string]*spoken

// spoken is a flag.Value that judges nothing.
type spoken struct {
	said     []string
	isSwitch bool
}

func (s *spoken) Set(text string) error { s.said = append(s.said, text); return nil }
func (s *spoken) String() string        { return "" }
func (s *spoken) IsBoolFlag() bool      { return s.isSwitch }

// flag is the library's, with a help text that knows switches.
type flag struct{ *cli.GenericFlag }

func (f flag) String() string   { return cli.FlagStringer(f) }
func (f flag) TakesValue() bool { return !f.Value.(*spoken).isSwitch }

// flags are the table's, as the library wants them.
func (l commandLine) flags(table []setting) []cli.Flag {
	var flags []cli.Flag
	for _, set := range table {
		l[set.name] = &spoken{isSwitch: set.isSwitch}
		usage := set.usage + " [$" + set.env() + "]"
		if set.list {
			usage += " (repeatable)"
		}
		flags = append(flags, flag{&cli.GenericFlag{
			Name: set.name, Usage: usage, DefaultText: set.defaultText(), Value: l[set.name],
		}})
	}
	return flags
}

func (s setting) defaultText() string {
	if len(s.preset) > 0 {
		return strings.Join(s.preset, ", ")
	}
	return s.absent
}

func (p program) printVersion(*cli.Context) error {
	_, err := fmt.Fprintf(p.stdout, "entrepot %s (%s, %s/%s)\n", p.release(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// release is the version of the Makefile, or that of `go install …@version`.
func (p program) release() string {
	if info, ok := debug.ReadBuildInfo(); ok && p.version == "dev" && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return p.version
}
