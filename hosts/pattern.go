package hosts

import "strings"

// pattern is a host name with "*" in it. A leading "*." stands for one or more
// whole labels, a "*" further inside for exactly one.
type pattern struct {
	text   string // canonical, for messages and for ordering
	labels string // what has to match label by label, without a leading "*."
	deep   bool   // there was a leading "*."
	port   string
}

// parsePattern judges an entry that contains "*". The last label has to be
// literal: "quay.*" would trust whoever registers the next top-level domain.
func parsePattern(s string) (pattern, bool) {
	host, port, ok := splitPort(s)
	if !ok {
		return pattern{}, false
	}
	host = strings.TrimSuffix(host, ".")
	labels, deep := strings.CutPrefix(host, "*.")
	if !literalIn(labels) {
		return pattern{}, false
	}
	labels = strings.ToLower(labels)
	p := pattern{text: labels, labels: labels, deep: deep, port: httpsIsNone(port)}
	if deep {
		p.text = "*." + p.text
	}
	if p.port != "" {
		p.text += ":" + p.port
	}
	return p, true
}

// literalIn tells whether labels are a host name once each whole-label "*" is
// replaced by a letter. A "*" inside a label stays and makes it invalid.
func literalIn(labels string) bool {
	parts := strings.Split(labels, ".")
	if parts[len(parts)-1] == "*" {
		return false
	}
	for i, part := range parts {
		if part == "*" {
			parts[i] = "x"
		}
	}
	name := strings.Join(parts, ".")
	return validName(name) && !isIPv4(name)
}

// match compares from the right, so that a "*." may take what remains.
func (p pattern) match(host, port string) bool {
	if port != p.port {
		return false
	}
	rest, want := host, p.labels
	for want != "" {
		var label, part string
		if rest == "" {
			return false
		}
		rest, label = cutLastLabel(rest)
		want, part = cutLastLabel(want)
		if part != "*" && part != label {
			return false
		}
	}
	return p.deep == (rest != "")
}

func cutLastLabel(s string) (before, label string) {
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return "", s
	}
	return s[:dot], s[dot+1:]
}

// httpsIsNone drops port 443 from a listed host: "reg.corp:443" and "reg.corp"
// are one registry to every client.
func httpsIsNone(port string) string {
	if port == "443" {
		return ""
	}
	return port
}
