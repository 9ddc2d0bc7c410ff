package main

import (
	"net/netip"

	"github.com/entrepot/entrepot/proxy"
)

// access is who may use the doors.
type access struct {
	Clients       []netip.Prefix
	Balancers     []netip.Prefix
	Htpasswd      string
	AdminHtpasswd string
}

// accessSettings say who may use the doors.
func accessSettings() []setting {
	return []setting{
		{
			name: "allow-client", usage: "clients inside `CIDR` may use the doors", list: true,
			absent: "loopback and private networks", set: appended(func(c *config) *[]netip.Prefix { return &c.Access.Clients }, parseNet),
		},
		{
			name: "proxy-protocol", usage: "connections from balancers inside `CIDR` begin with a PROXY header that says who the client is", list: true,
			absent: "nobody's", set: appended(func(c *config) *[]netip.Prefix { return &c.Access.Balancers }, parseNet),
		},
		{
			name: "htpasswd", usage: "`FILE` with the names and bcrypt passwords that the mirror and proxy doors ask for", path: true,
			absent: "nobody is asked", set: text(func(c *config) *string { return &c.Access.Htpasswd }),
		},
		{
			name: "admin-htpasswd", usage: "`FILE` with those that the admin door asks for; without it /healthz, /readyz and /metrics is all that other machines get", path: true,
			absent: "this machine is not asked", set: text(func(c *config) *string { return &c.Access.AdminHtpasswd }),
		},
	}
}

// reloaded are the settings that a reload puts in force.
func reloaded() []string {
	return []string{"registry", "docker-config", "grace", "htpasswd", "admin-htpasswd", "server-cert", "server-key"}
}

// checkAccess reads what decides who comes in, since a fault there would let nobody in, or everybody.
func (c config) checkAccess(bad *problems) {
	for name, path := range map[string]string{"htpasswd": c.Access.Htpasswd, "admin-htpasswd": c.Access.AdminHtpasswd} {
		if _, err := readUsers(path); err != nil {
			bad.add(c.from(name), err.Error(), "")
		}
	}
}

// users are those of the doors for clients, and those of the admin door.
type users struct{ clients, admins *proxy.Users }

func (a access) users() (users, error) {
	clients, err := readUsers(a.Htpasswd)
	if err != nil {
		return users{}, err
	}
	admins, err := readUsers(a.AdminHtpasswd)
	return users{clients, admins}, err
}

// readUsers are those of a file, nil for none.
func readUsers(path string) (*proxy.Users, error) {
	if path == "" {
		return nil, nil
	}
	return proxy.ReadUsers(path)
}
