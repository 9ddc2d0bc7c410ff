package main

import (
	"net/netip"

	"github.com/entrepot/entrepot/proxy"
)

// access is who may use the doors.
type access struct {
	Clients  []netip.Prefix
	Htpasswd string
}

// accessSettings say who may use the doors.
func accessSettings() []setting {
	return []setting{
		{
			name: "allow-client", usage: "clients inside `CIDR` may use the doors", list: true,
			absent: "loopback and private networks", set: appended(func(c *config) *[]netip.Prefix { return &c.Access.Clients }, parseNet),
		},
		{
			name: "htpasswd", usage: "`FILE` with the names and bcrypt passwords that the mirror and proxy doors ask for", path: true,
			absent: "nobody is asked", set: text(func(c *config) *string { return &c.Access.Htpasswd }),
		},
	}
}

// reloaded are the settings that a reload puts in force.
func reloaded() []string {
	return []string{"registry", "grace", "htpasswd", "server-cert", "server-key"}
}

// checkAccess reads what decides who comes in, since a fault there would let nobody in, or everybody.
func (c config) checkAccess(bad *problems) {
	if _, err := users(c.Access.Htpasswd); err != nil {
		bad.add(c.from("htpasswd"), err.Error(), "")
	}
}

// users are those of a file, nil for none.
func users(path string) (*proxy.Users, error) {
	if path == "" {
		return nil, nil
	}
	return proxy.ReadUsers(path)
}
