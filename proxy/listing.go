package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of what is listed. Docker Hub has repositories with a hundred thousand tags, Google's registries list every manifest with
// its tags: a whole list may be long, but it has an end. A registry that made room for as many as n says could be felled by one
// request (CVE-2023-2253), and whatever comes back has to go through here.
const (
	maxListed  = 1000
	maxListing = 64 << 20
)

// boundedQuery is a query with an n that registries can bear. Pages are the registry's to make: with fewer than were asked for a client
// goes on by the Link that comes with them. An n that is no number is the registry's to refuse.
func boundedQuery(query string) string {
	v, err := url.ParseQuery(query)
	if err != nil || len(v["n"]) == 0 {
		return query
	}
	changed := false
	for i, text := range v["n"] {
		digits := strings.TrimLeft(text, "0")
		n, err := strconv.ParseUint(digits, 10, 64)
		if digits != "" && strings.Trim(digits, "0123456789") == "" && (err != nil || n > maxListed) {
			v["n"][i], changed = strconv.Itoa(maxListed), true
		}
	}
	if !changed {
		return query
	}
	return v.Encode()
}

// boundListing refuses an answer that is longer than a listing can be, and cuts one off that turns out to be.
func boundListing(resp *http.Response) error {
	if resp.ContentLength > maxListing {
		resp.Body.Close()
		return errListing
	}
	resp.Body = &bounded{resp.Body, maxListing}
	return nil
}

var errListing = fmt.Errorf("the listing is longer than %d MiB", maxListing>>20)

// bounded is a body that must end.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errListing
	}
	return n, err
}
