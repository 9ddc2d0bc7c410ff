package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ErrNotFound is what Lookup's error wraps when a DNS server says that the name
// does not exist or has no address. Any other error means that nobody could
// say.
var ErrNotFound = errors.New("no such host")

// rounds is how often all servers are asked: a lost packet is common enough
// for a second time.
const rounds = 2

// attempt is one server and why it was of no use.
type attempt struct {
	server netip.AddrPort
	err    error
}

// lookupError tells whom we asked and what each of them said.
type lookupError struct {
	name     string
	attempts []attempt
}

// Error names each server once, and a reason once if they all have the same.
func (e *lookupError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "resolve %s: asked ", e.name)
	for i, a := range e.attempts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.server.String())
		if i+1 == len(e.attempts) || e.attempts[i+1].err.Error() != a.err.Error() {
			b.WriteString(": " + a.err.Error())
		}
	}
	return b.String()
}

// Unwrap gives the errors of all servers.
func (e *lookupError) Unwrap() []error {
	errs := make([]error, len(e.attempts))
	for i, a := range e.attempts {
		errs[i] = a.err
	}
	return errs
}

// add takes over what servers said to another question.
func (e *lookupError) add(attempts []attempt) {
	for _, a := range attempts {
		e.attempts = noted(e.attempts, a)
	}
}

// noted keeps the last thing that each server said.
func noted(list []attempt, a attempt) []attempt {
	i := slices.IndexFunc(list, func(old attempt) bool { return old.server == a.server })
	if i < 0 {
		return append(list, a)
	}
	list[i] = a
	return list
}

// found is the outcome of one question. No addresses and no failure means that
// there are none.
type found struct {
	addrs    []netip.Addr
	ttl      time.Duration
	failed   bool
	attempts []attempt
}

// ask puts one question to the servers, and follows CNAMEs that an answer
// leaves open with questions of their own.
func (r *Resolver) ask(ctx context.Context, servers []netip.AddrPort, name string, qtype uint16) found {
	f := found{ttl: r.maxTTL}
	for range maxHops {
		reply, server, ok := r.askAll(ctx, &f, servers, name, qtype)
		if !ok {
			f.failed = true
			return f
		}
		p := readAnswer(reply, name, qtype)
		f.ttl = min(f.ttl, p.ttl)
		if p.next == "" {
			f.addrs = p.addrs
			if len(p.addrs) == 0 {
				f.note(server, ErrNotFound)
			}
			return f
		}
		name = strings.TrimSuffix(p.next, ".")
		if !validName(name) {
			f.note(server, fmt.Errorf("CNAME to %q, which is no host name", name))
			f.failed = true
			return f
		}
	}
	f.failed = true
	f.note(servers[0], fmt.Errorf("more than %d CNAMEs", maxHops))
	return f
}

// askAll asks one server after the other until one gives an answer that
// settles the question. NXDOMAIN does: it is the word of the zone's owner, the
// C library takes the first one too, and asking on would carry the names of
// one network to the servers of another. SERVFAIL and silence do not.
func (r *Resolver) askAll(ctx context.Context, f *found, servers []netip.AddrPort, name string, qtype uint16) (*dns.Msg, netip.AddrPort, bool) {
	for range rounds {
		for _, server := range r.outages.order(servers, r.now()) {
			reply, err := query(ctx, server, name, qtype, r.timeout)
			if ctx.Err() != nil && err != nil {
				f.note(server, err)
				return nil, server, false // ours was the end, not the server's
			}
			r.outages.note(server, isSilent(err), r.now())
			if err == nil {
				return reply, server, true
			}
			f.note(server, err)
		}
	}
	return nil, netip.AddrPort{}, false
}

// isSilent tells a server that is not there from one that gave a bad answer.
func isSilent(err error) bool {
	if err == nil {
		return false
	}
	_, spoke := errors.AsType[*dns.Error](err)
	_, isWord := errors.AsType[serverWord](err)
	return !spoke && !isWord
}

func (f *found) note(server netip.AddrPort, err error) {
	f.attempts = noted(f.attempts, attempt{server, err})
}
