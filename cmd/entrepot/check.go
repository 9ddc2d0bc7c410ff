package main

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// check looks for what is wrong between settings, and in the files they name. It opens no port and
// writes nothing.
func (c config) check(bad *problems) {
	c.checkDataDir(bad)
	c.checkVolume(bad)
	c.checkDoors(bad)
	c.checkCA(bad)
	c.checkFiles(bad)
	c.checkAccess(bad)
	c.checkTLS(bad)
	c.checkACME(bad)
	c.checkCredentials(bad)
	c.checkTwice(bad)
	if len(*bad) > 0 {
		return // the table would only repeat what is wrong with a registry
	}
	if _, err := c.table(); err != nil {
		for _, e := range parts(err) {
			bad.add(c.from("registry"), e.Error(), "")
		}
	}
}

// checkDataDir says why there is no data directory, unless what was said has been refused before.
func (c config) checkDataDir(bad *problems) {
	from := c.from("data-dir")
	switch {
	case c.DataDir != "" || c.was("data-dir") != "":
	case from.rank > byDefault:
		bad.add(from, "is empty", "name a directory, or leave it out for the default")
	default:
		bad.add(from, "there is no home directory to put it in", "name a directory with --data-dir DIR or ENTREPOT_DATA_DIR")
	}
}

// checkDoors finds doors in each other's way. All off is a contradiction to being started at all.
func (c config) checkDoors(bad *problems) {
	kinds := doorKinds()
	open := 0
	for i, a := range c.Listen {
		if a != "" && i != adminDoor {
			open++
		}
		for j := range i {
			if sameDoor(c.Listen[j], a) {
				bad.add(c.from(kinds[i].flag()), fmt.Sprintf("%s is also the address of the %s door (%s)", a, kinds[j].name, c.from(kinds[j].flag())),
					"give one of them another port, or turn it off")
			}
		}
	}
	if open == 0 && len(*bad) == 0 {
		bad.add(c.from("proxy-listen"), "every door for clients is off", "leave at least one of proxy, mirror, tls and http on")
	}
}

// sameDoor tells whether two addresses cannot be bound together. Port 0 is a free one each time.
func sameDoor(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || anyAddress(hostA) || anyAddress(hostB)
}

// onLoopback tells whether a door is for this machine only, as one that is off is for nobody.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, noIP := netip.ParseAddr(host)
	return addr == "" || err == nil && (strings.EqualFold(host, "localhost") || noIP == nil && ip.Unmap().IsLoopback())
}

func anyAddress(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func (c config) checkCA(bad *problems) {
	switch {
	case c.CACert != "" && c.CAKey == "":
		bad.add(c.from("ca-cert"), "is given without ca-key", "a CA needs both; leave out both to have one made in the data directory")
	case c.CAKey != "" && c.CACert == "":
		bad.add(c.from("ca-key"), "is given without ca-cert", "a CA needs both; leave out both to have one made in the data directory")
	case c.CAPassphraseFile != "" && c.CAKey == "":
		bad.add(c.from("ca-passphrase-file"), "is given without ca-key", "the CA that entrepot makes itself has no passphrase")
	}
}

// checkFiles reads every file that is named, since each would fail later, and some only at the first
// pull from their registry.
func (c config) checkFiles(bad *problems) {
	for _, file := range []struct{ name, path string }{
		{"ca-cert", c.CACert}, {"ca-key", c.CAKey}, {"ca-passphrase-file", c.CAPassphraseFile},
	} {
		if _, err := os.ReadFile(file.path); file.path != "" && err != nil {
			bad.add(c.from(file.name), err.Error(), "check the path and who may read it")
		}
	}
	for i, path := range c.UpstreamCAs {
		checkRoots(path, c.said["upstream-ca"][i].from, bad)
	}
	for _, r := range c.Rules {
		if r.CAFile != "" {
			checkRoots(r.CAFile, r.from, bad)
		}
	}
}

func checkRoots(path string, from origin, bad *problems) {
	if err := addRoots(x509.NewCertPool(), path); err != nil {
		bad.add(from, err.Error(), "want a file with certificates in PEM form")
	}
}

// addRoots puts the certificates of a PEM file into a pool.
func addRoots(pool *x509.CertPool, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s: has no certificate in it", path)
	}
	return nil
}

// checkTwice finds two entries of the file about one registry, of which one would silently win.
func (c config) checkTwice(bad *problems) {
	first := map[string]origin{}
	for _, r := range c.Rules {
		name := strings.ToLower(r.Name)
		if from, twice := first[name]; twice && r.said != nil {
			bad.add(r.from, fmt.Sprintf("registry %q is said before at %s", r.Name, from.place), "write one entry that says everything")
		}
		if r.said != nil {
			first[name] = r.from
		}
	}
}
