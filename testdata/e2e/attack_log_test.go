//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"unicode"
)

// logs: nobody writes into the log of another, or to the terminal of who reads it.
func (s *siege) logs() {
	const forged = "10:30:34  HIT          blob       docker.io/library/forged"
	for _, format := range []string{"console", "json"} {
		f := s.fort("logging-"+format, map[string]int{"console": 32000, "json": 32100}[format], "--log-format", format)
		in := s.beside(f)
		// A line feed, a carriage return, the escape of a terminal, its C1 form, a bell, and letters that turn the reading direction.
		for _, evil := range []string{"\n" + forged, "\r" + forged, "\x1b[2J\x1b[31m", "\u009b31m", "\x07", "\u202e", "\"}\n{\"level\":\"info\",\"cache\":\"HIT\"}"} {
			escaped := percent(evil)
			for _, text := range []string{
				request("GET", "/v2/a/b/manifests/1?ns="+escaped), request("GET", "/"+escaped+"/v2/a/b/manifests/1"), request("GET", "/v2/"+escaped+"/manifests/1"), request("GET", "/v2/a/b/manifests/"+escaped),
				request("GET", "/v2/a/b/blobs/"+escaped), request("GET", "/v2/", "User-Agent: "+strings.NewReplacer("\n", " ", "\r", " ", "\x1b", " ", "\x07", " ").Replace(evil)), request("GET", "/v2/", "Host: "+escaped),
				request("GET", "http://"+escaped+"/"), request("CONNECT", escaped+":443"), request("CONNECT", "a"+escaped), request(percent("GET"+evil), "/v2/"),
			} {
				in.say(in.dial(f.proxy), text)
			}
		}
		in.say(in.dial(f.mirror), request("GET", "/v2/library/last/manifests/1"))
		f.stop(s.t)
		log, err := os.ReadFile(f.log)
		if err != nil {
			s.t.Fatal(err)
		}
		control := strings.IndexFunc(string(log), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
		lines, bad := 0, ""
		for line := range strings.Lines(string(log)) {
			lines++
			if strings.HasPrefix(line, forged) || strings.HasPrefix(line, `{"level":"info","cache":"HIT"}`) {
				bad = line
			}
		}
		s.try("lines of others, and a terminal's commands, in the log as "+format, fmt.Sprintf("none in %d lines", lines),
			unless((control < 0 || format == "json") && bad == "" && lines > 50, "%q, %.100q", bad, log[max(0, control):]))
	}
}

// percent writes every byte as URLs do.
func percent(text string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		fmt.Fprintf(&out, "%%%02x", b)
	}
	return out.String()
}
