package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/entrepot/entrepot/hosts"
)

// hostsCommand edits the overrides that send a registry's names to the tls and http doors.
func (p program) hostsCommand() *cli.Command {
	given := commandLine{}
	var table []setting
	for _, set := range settings(newEnvironment(p.environ)) {
		if set.name == "config" || set.name == "registry" {
			table = append(table, set) // which registries there are; nothing else matters here
		}
	}
	file := &cli.StringFlag{Name: "file", Usage: "`FILE` to edit", Value: "/etc/hosts"}
	dry := &cli.BoolFlag{Name: "dry-run", Usage: "print what would change, and change nothing"}
	ip := &cli.StringSliceFlag{
		Name: "ip", Usage: "`ADDR` that the names shall lead to, where entrepot listens (repeatable)", Value: cli.NewStringSlice("127.0.0.1"),
	}
	edit := append(given.flags(table), file, dry)
	return &cli.Command{
		Name: "hosts", Usage: "send registries' names here by a marked block in /etc/hosts", Action: p.noCommand,
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "add the host names of registries", ArgsUsage: "REGISTRY…", Flags: append(slices.Clone(edit), ip),
				Action: func(c *cli.Context) error { return p.hostsAdd(c, given) },
			},
			{
				Name: "remove", Usage: "remove registries' names, or the whole block", ArgsUsage: "[REGISTRY…]", Flags: edit,
				Action: func(c *cli.Context) error { return p.hostsRemove(c, given) },
			},
			{Name: "list", Usage: "print the names in the block", Flags: []cli.Flag{file}, Action: p.hostsList},
		},
	}
}

func (p program) hostsAdd(c *cli.Context, given commandLine) error {
	var ips []netip.Addr
	for _, text := range c.StringSlice("ip") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return withHint("", "--ip: got %q, want an address such as 127.0.0.1", text)
		}
		ips = append(ips, ip)
	}
	names, err := p.hostNames(c, given, nil)
	if err != nil {
		return err
	}
	return p.edited(hosts.AddOverrides(c.String("file"), ips, names, c.Bool("dry-run")))
}

func (p program) hostsRemove(c *cli.Context, given commandLine) error {
	var names []string
	if c.Args().Present() {
		held, err := hosts.Overrides(c.String("file"))
		if err != nil {
			return err
		}
		if names, err = p.hostNames(c, given, held); err != nil {
			return err
		}
	}
	return p.edited(hosts.RemoveOverrides(c.String("file"), names, c.Bool("dry-run")))
}

// edited prints what has changed, or would have.
func (p program) edited(change hosts.Change, err error) error {
	if err != nil {
		return withHint("with --dry-run the lines are printed, for you to write them yourself", "%w", err)
	}
	for _, c := range change.Conflicts {
		fmt.Fprintf(p.stderr, "entrepot: warning: %v\n", c)
	}
	if change.Diff == "" {
		change.Diff = "nothing to change\n"
	}
	_, err = fmt.Fprint(p.stdout, change.Diff)
	return err
}

func (p program) hostsList(c *cli.Context) error {
	names, err := hosts.Overrides(c.String("file"))
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(p.stdout, name)
	}
	return nil
}

// hostNames are the names that the words on the command line stand for: all of a registry's, or one host
// where a host was named. A name of held is one whatever the registries are.
func (p program) hostNames(c *cli.Context, given commandLine, held []string) ([]string, error) {
	cfg, err := p.sources(given).load()
	if err != nil {
		return nil, err
	}
	table, err := cfg.table()
	if err != nil {
		return nil, err
	}
	known := "known registries: " + strings.Join(table.Names(), ", ")
	if !c.Args().Present() {
		return nil, withHint(known, "hosts %s: name the registries", c.Command.Name)
	}
	var names []string
	for _, arg := range c.Args().Slice() {
		if strings.HasPrefix(arg, "-") {
			return nil, withHint("flags stand before the names", "hosts %s: unexpected %q", c.Command.Name, arg)
		}
		found := namesOf(table, arg)
		if name := withoutPort(strings.ToLower(arg)); slices.Contains(held, name) {
			found = append(found, name)
		}
		if len(found) == 0 && strings.Contains(arg, "*") {
			return nil, withHint("name each host that clients use, such as "+strings.Replace(arg, "*", "us", 1),
				"hosts %s: %s is a family, of which a hosts file can hold single names only", c.Command.Name, arg)
		}
		if len(found) == 0 {
			more := "--registry or the file add others"
			if c.Command.Name == "remove" {
				more = "`entrepot hosts list` prints the names in the block"
			}
			return nil, withHint(known+"; "+more, "hosts %s: %q is no known registry", c.Command.Name, arg)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// namesOf is empty for what is no registry, and for a family, whose names nobody can list.
func namesOf(table *hosts.Table, arg string) []string {
	r, ok := table.Lookup(arg)
	if !ok {
		return nil
	}
	if !strings.EqualFold(arg, r.Name) {
		return []string{withoutPort(strings.ToLower(arg))}
	}
	var names []string
	for _, h := range r.Hosts {
		if !strings.Contains(h, "*") {
			names = append(names, withoutPort(h))
		}
	}
	return names
}

func withoutPort(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}
