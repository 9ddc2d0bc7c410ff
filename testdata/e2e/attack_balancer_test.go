//go:build e2e

package e2e

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Who is who to the siege's program: balancerAddr is in --proxy-protocol, neighbour is let in, foreigner is of a public network that
// nobody listed.
const (
	balancerAddr = "127.0.0.9"
	neighbour    = "10.77.0.5"
	foreigner    = "192.31.196.250"
)

// announced and announced2 are headers of the PROXY protocol that announce a client.
func announced(client string) string { return "PROXY TCP4 " + client + " 127.0.0.1 40000 5000\r\n" }

func announced2(client string) string {
	from, to := netip.MustParseAddr(client).As4(), netip.MustParseAddr("127.0.0.1").As4()
	return v2Header(0x21, 0x11, string(from[:])+string(to[:])+"\x9c\x40\x13\x88")
}

// v2Header is one of version 2 with this command, family and content.
func v2Header(command, family byte, content string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(content)))) + content
}

// whoComesIn: networks that are not let in get no word, whatever they say of themselves; and only a balancer says for whom it is.
func (s *siege) whoComesIn() {
	get := request("GET", "/ca.crt")
	mute := func(what, from, text string) {
		r := s.say(s.dialFrom(from, mirrorAddr), text)
		s.try(what, r.String(), unless(r.closed && r.raw == "", "want the end without a word, got %.100q", r.raw))
	}
	for name, door := range map[string]string{"mirror": mirrorAddr, "proxy": proxyAddr, "tls": tlsAddr, "http": httpAddr} {
		r := s.say(s.dialFrom(foreigner, door), get)
		s.try("a network that is not in --allow-client at the "+name+" door", r.String(), unless(r.closed && r.raw == "", "got %.100q", r.raw))
	}
	for what, header := range map[string]string{"version 1": announced(neighbour), "version 2": announced2(neighbour)} {
		mute("a stranger's PROXY header that announces a neighbour, "+what, foreigner, header+get)
		for name, door := range map[string]string{"mirror": mirrorAddr, "proxy": proxyAddr, "http": httpAddr, "admin": adminAddr} {
			r := s.say(s.dialFrom("127.0.0.8", door), header+request("GET", "/metrics"))
			s.try("a PROXY header at the "+name+" door from who is no balancer, "+what, r.String(), unless(r.refused(), "want 400"))
		}
	}
	r := s.say(s.dialFrom(balancerAddr, adminAddr), announced("127.0.0.1")+request("POST", "/api/verify", "Content-Length: 0"))
	s.try("a balancer's PROXY header at the admin door, which takes none", r.String(), unless(r.refused(), "want 400"))
	r = s.say(s.dialFrom("10.77.0.7", tlsAddr), announced("127.0.0.1")+get)
	s.try("a PROXY header before TLS from who is no balancer", r.String(), unless(r.refused(), "want a refusal"))
	for _, field := range []string{"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1"} {
		mute("a stranger with "+field, foreigner, request("GET", "/ca.crt", field))
	}
	for what, header := range badHeaders() {
		mute("a balancer with "+what, balancerAddr, header+get)
	}
	r = s.say(s.dialFrom(balancerAddr, mirrorAddr), announced("10.77.0.6")+announced("127.0.0.1")+get)
	s.try("a second PROXY header", r.String(), unless(r.refused(), "want 400"))
	r = s.say(s.dialFrom(balancerAddr, mirrorAddr), announced("10.77.0.6")+get)
	s.try("for comparison: a balancer's PROXY header", r.String(), unless(r.statuses() != nil && r.statuses()[0] == "200", "want 200"))
	s.clientsInLog()
}

// badHeaders are PROXY headers that announce a stranger, or nothing that could be understood.
func badHeaders() map[string]string {
	return map[string]string{
		"no header":                         "",
		"a stranger, by version 1":          announced(foreigner),
		"a stranger, by version 2":          announced2(foreigner),
		"a stranger, then a neighbour":      announced(foreigner) + announced(neighbour),
		"half a header":                     "PROXY TCP4 10.77.0.5\r\n",
		"a header without its end":          "PROXY TCP4 10.77.0.5 127.0.0.1 40000 5000",
		"a header that ends with LF":        "PROXY TCP4 10.77.0.5 127.0.0.1 40000 5000\n",
		"a name in place of an address":     "PROXY TCP4 localhost 127.0.0.1 40000 5000\r\n",
		"an octal address":                  "PROXY TCP4 012.77.0.5 127.0.0.1 40000 5000\r\n",
		"a port of 70000":                   "PROXY TCP4 10.77.0.5 127.0.0.1 70000 5000\r\n",
		"too many words":                    "PROXY TCP4 10.77.0.5 127.0.0.1 40000 5000 1\r\n",
		"small letters":                     strings.ToLower(announced(neighbour)),
		"100 KB of header":                  "PROXY TCP4 " + strings.Repeat("1", 100<<10) + "\r\n",
		"version 3":                         v2Header(0x31, 0x11, strings.Repeat("\x0a", 12)),
		"a command of none":                 v2Header(0x2f, 0x11, strings.Repeat("\x0a", 12)),
		"a client of a Unix socket":         v2Header(0x21, 0x31, strings.Repeat("a", 216)),
		"a client of UDP":                   v2Header(0x21, 0x12, "\x0a\x4d\x00\x05\x7f\x00\x00\x01\x9c\x40\x13\x88"),
		"too short a content":               v2Header(0x21, 0x11, "\x0a\x4d\x00\x05"),
		"a mapped stranger":                 "PROXY TCP6 ::ffff:" + foreigner + " ::1 40000 5000\r\n",
		"an unspecified address":            announced("0.0.0.0"),
		"a stranger with a neighbour's TLV": strings.Replace(announced2(foreigner), "\x00\x0c", "\x00\x13", 1) + "\x01\x00\x04\x0a\x4d\x00\x05",
	}
}

// clientsInLog: nobody chose the address by which the log knows him.
func (s *siege) clientsInLog() {
	named := func(client string) string { return `"client":"` + client }
	log := s.logged(s.e.process, named(foreigner), named("127.0.0.8"), named("10.77.0.6"))
	has := func(client string) bool { return strings.Contains(log, named(client)) }
	s.try("whom the log names", foreigner+", 127.0.0.8, 10.77.0.6", unless(!has(neighbour) && has(foreigner) && has("127.0.0.8") && has("10.77.0.6"), "the liar's, or not those who were announced truly"))
}
