package proxy

import (
	"encoding/base64"
	"encoding/json"
	"iter"
	"math"
	"net/http"
	"strings"
)

// claims is what a token that a caller brings says of itself (RFC 7519, section 4.1). Its signature is not ours to check and need not
// be: all that a caller can bring about with his words is that upstream is asked more often.
type claims struct {
	Exp *float64 `json:"exp"`
	Sub string   `json:"sub"`
}

// claimsIn are those of a request's tokens that can be read.
func claimsIn(h http.Header) iter.Seq[claims] {
	return func(yield func(claims) bool) {
		for _, field := range h.Values("Authorization") {
			scheme, token, _ := strings.Cut(field, " ")
			parts := strings.Split(token, ".")
			if !strings.EqualFold(scheme, "bearer") || len(parts) != 3 {
				continue
			}
			text, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				continue
			}
			var c claims
			if json.Unmarshal(text, &c) == nil && !yield(c) {
				return
			}
		}
	}
}

// endOf is when the first of the tokens that a caller brings ends by its own words, in seconds since 1970: neverEnds where none says.
func endOf(h http.Header) float64 {
	end := neverEnds
	for c := range claimsIn(h) {
		if c.Exp != nil {
			end = min(end, *c.Exp)
		}
	}
	return end
}

var neverEnds = math.Inf(1)
