//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// unplug is a way to lose the world: rules for what goes to its addresses.
type unplug struct {
	name  string
	rules []string
}

// refused is a world without servers: what is asked is answered by a reset,
// on connections that were open too. Its name server still answers.
func refused() unplug {
	rule := "-d " + worldNet + " -p tcp --dport PORT -j REJECT --reject-with tcp-reset"
	return unplug{"refused", []string{strings.Replace(rule, "PORT", "443", 1), strings.Replace(rule, "PORT", "80", 1)}}
}

// dropped is a world behind a cut cable: every packet is lost, questions to
// its name server too.
func dropped() unplug { return unplug{"dropped", []string{"-d " + worldNet + " -j DROP"}} }

// counted loses nothing, and counts the connections that somebody tries.
func counted() unplug { return unplug{"counted", []string{"-d " + worldNet + " -p tcp --syn"}} }

// pull puts the rules in force until the test ends.
func (p unplug) pull(t *testing.T) {
	t.Helper()
	for _, rule := range p.rules {
		iptables(t, "-I OUTPUT "+rule)
		t.Cleanup(func() { iptables(t, "-D OUTPUT "+rule) })
	}
}

// packets is how many packets met the rules. It needs the only rules there are.
func (p unplug) packets(t *testing.T) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(iptables(t, "-nvxL OUTPUT")) {
		if fields := strings.Fields(line); strings.Contains(line, worldNet) {
			all = append(all, fields[0])
		}
	}
	return strings.Join(all, " ")
}

func iptables(t *testing.T, args string) string {
	t.Helper()
	return run(t, command(nil, "/usr/sbin/iptables", append([]string{"--wait"}, strings.Fields(args)...)...))
}
