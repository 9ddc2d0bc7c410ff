package proxy

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// ended tells whether the token that the caller brings says of itself that it has ended (RFC 7519, section 4.1.4). Its signature is
// not ours to check and need not be: all that a caller can bring about with his words is that upstream is asked again.
func ended(r *http.Request, now time.Time) bool {
	for _, field := range r.Header.Values("Authorization") {
		scheme, token, _ := strings.Cut(field, " ")
		parts := strings.Split(token, ".")
		if !strings.EqualFold(scheme, "bearer") || len(parts) != 3 {
			continue
		}
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			continue
		}
		var said struct {
			Exp *float64 `json:"exp"`
		}
		if json.Unmarshal(claims, &said) == nil && said.Exp != nil && float64(now.Unix()) >= *said.Exp {
			return true
		}
	}
	return false
}
