package world

import (
	"fmt"
	"net/http"
	"time"
)

// github is ghcr.io: tokens without an end, nothing said about private
// repositories at the realm but DENIED, storage that fails on many ranges,
// and no Docker manifest where an OCI one was pushed.
func (w *World) github() {
	reg := w.register("ghcr.io")
	reg.auth = &bearer{
		world: w, owner: reg, host: "ghcr.io", path: "/token", service: "ghcr.io",
		life: time.Hour, deny: http.StatusForbidden,
	}
	reg.unfit = notFound
	w.api("ghcr.io", reg)
	w.store(reg, &storage{
		host: "pkg-containers.githubusercontent.com", status: http.StatusTemporaryRedirect, multi: http.StatusNotImplemented,
		style: azure(5*time.Minute, func(g grant) string { return "/ghcr1/blobs/" + g.digest }),
	})
}

// microsoft is mcr.microsoft.com: no login, and storage named by region.
func (w *World) microsoft() {
	reg := w.register("mcr.microsoft.com")
	w.api("mcr.microsoft.com", reg)
	w.store(reg, &storage{
		host: "westeurope.data.mcr.microsoft.com", status: http.StatusTemporaryRedirect, heads: true,
		style: azure(10*time.Minute, func(g grant) string {
			return dataPath(fmt.Sprintf("/01031d61e1024861afee5d512651eb9f-%s", hexOf(g.digest)[:6]), g.digest)
		}),
	})
}

// ecrPublic is public.ecr.aws: one scope for all, and a HEAD of a blob is
// refused though the token is good.
func (w *World) ecrPublic() {
	reg := w.register("public.ecr.aws")
	auth := &bearer{world: w, owner: reg, host: "public.ecr.aws", path: "/token/", service: "public.ecr.aws", scope: "aws", said: 0, life: 12 * time.Hour}
	reg.auth = auth
	reg.quirk = func(rw http.ResponseWriter, req *http.Request, rt route) bool {
		if rt.kind == Blob && req.Method == http.MethodHead {
			auth.challenge(rw, req, rt, "")
			return true
		}
		return false
	}
	w.api("public.ecr.aws", reg)
	w.store(reg, &storage{
		host: "d5l0dvt14r5h8.cloudfront.net", status: http.StatusTemporaryRedirect,
		style: amazon(5*time.Minute, func(g grant) string { return "/docker/" + hexOf(g.digest) }),
	})
}

// ECR is the private Amazon registry of the world; its account is AWS with
// the password "world", which owns everything.
const ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"

// ecrPrivate asks for Basic on every call and sends to a bucket that answers
// 400 to those who bring it along.
func (w *World) ecrPrivate() {
	reg := w.register(ECR)
	reg.rights.closed = true
	reg.rights.accounts["AWS"] = account{"world", []string{"*"}}
	reg.auth = &basic{owner: reg, title: "https://" + ECR + "/"}
	w.api(ECR, reg)
	w.store(reg, &storage{
		host: "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com", status: http.StatusTemporaryRedirect,
		heads: true, multi: http.StatusOK, oneAuth: true,
		style: amazon(time.Hour, func(g grant) string { return "/1a2b3c/" + hexOf(g.digest) }),
	})
}

// corporate is a company's registry: no redirects, Basic as soon as there is
// an account, also on plain HTTP and on odd ports. Beside it stands one whose
// backend keeps blobs in S3 and redirects by itself.
func (w *World) corporate() {
	for _, name := range []string{"reg.corp.test", "s3reg.corp.test"} {
		reg := w.register(name)
		reg.rights.openPush = true
		reg.auth = &basic{owner: reg, title: "Registry Realm"}
		h := w.api(name, reg)
		h.plain, h.extra = true, []string{"5000", "5001"}
	}
}

// unknown is a host that is no registry at all and tells what it was asked.
func (w *World) unknown() {
	w.play(&Host{Name: "unknown.example.org", owner: "unknown.example.org", plain: true, handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(rw, "echo %s %s from %s\n", req.Method, req.URL.RequestURI(), req.Host) // the client may have left
	})})
}
