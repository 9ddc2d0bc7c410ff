package upstream

import "strings"

// Challenge is one WWW-Authenticate challenge (RFC 9110, section 11.6.1).
type Challenge struct {
	Scheme string            // lower case
	Params map[string]string // names in lower case
}

// ParseChallenges reads WWW-Authenticate fields, several challenges in one field included. What it does not understand it leaves
// out: a client that cannot read a challenge behaves as if there were none.
func ParseChallenges(fields []string) []Challenge {
	var out []Challenge
	for _, field := range fields {
		s := scanner{rest: field}
		for s.rest != "" {
			out = s.challenge(out)
		}
	}
	return out
}

// MoveRealms has to say where the token realms of a WWW-Authenticate field are. What it leaves as they are, and all else in the field,
// stays to the last byte.
func MoveRealms(field string, to func(realm string) string) string {
	var moved strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	done := len(field) // what of it is still to be written, counted from its end
	for s := (scanner{rest: field}); s.rest != ""; {
		for _, c := range s.challenge(nil) {
			realm := c.Params["realm"]
			if c.Scheme != "bearer" || realm == "" || to(realm) == realm {
				continue
			}
			moved.WriteString(field[len(field)-done : len(field)-s.realm[0]])
			moved.WriteString(`"` + quote.Replace(to(realm)) + `"`)
			done = s.realm[1]
		}
	}
	return moved.String() + field[len(field)-done:]
}

// scanner reads a field from its front.
type scanner struct {
	rest  string
	realm [2]int // where the value of the last realm begins and ends, counted from the field's end
}

// challenge reads the next scheme with its parameters, or skips one byte that fits nowhere.
func (s *scanner) challenge(out []Challenge) []Challenge {
	s.skip(" \t,")
	scheme := s.token()
	if scheme == "" {
		s.skipByte()
		return out
	}
	c := Challenge{Scheme: strings.ToLower(scheme), Params: map[string]string{}}
	for {
		s.skip(" \t,")
		before := s.rest
		name := s.token()
		s.skip(" \t")
		if name == "" || !strings.HasPrefix(s.rest, "=") {
			s.rest = before // the next challenge's scheme, or rubbish
			return append(out, c)
		}
		s.skipByte()
		s.skip(" \t")
		begin := len(s.rest)
		c.Params[strings.ToLower(name)] = s.value()
		if strings.EqualFold(name, "realm") {
			s.realm = [2]int{begin, len(s.rest)}
		}
	}
}

func (s *scanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

func (s *scanner) skipByte() {
	if s.rest != "" {
		s.rest = s.rest[1:]
	}
}

func (s *scanner) token() string {
	end := strings.IndexFunc(s.rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
	if end < 0 {
		end = len(s.rest)
	}
	t := s.rest[:end]
	s.rest = s.rest[end:]
	return t
}

func (s *scanner) value() string {
	if !strings.HasPrefix(s.rest, `"`) {
		return s.token()
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	s.rest = ""
	return b.String()
}
