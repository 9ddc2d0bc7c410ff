// Package world plays the public internet of container registries on
// loopback: Docker Hub, quay.io, gcr.io and Artifact Registry,
// registry.k8s.io, ghcr.io, mcr.microsoft.com, both kinds of Amazon's
// registry and a company's own, each with its token realm, its redirects, its
// signed URLs and its quirks, under its true name, with certificates of a
// root that exists only here.
//
// Nothing leaves the machine: [World.Dial] knows the names the world plays
// and fails the test for any other.
//
//	w := world.New(t, world.Options{})
//	img := world.Image(t, 1, 1<<20, 64<<10)             // two layers, always the same bytes
//	pushed := w.Push(t, "docker.io/library/alpine:3.20", img)
//	… let the proxy use w.Dial and w.Roots, and pull through it …
//	got := w.Host("registry-1.docker.io").Counts()      // Manifests, Blobs, Tokens, …
//	before := w.BlobBytes(); …; w.NoMoreBlobBytes(t, before)
//
// Who may read what: repositories are public until [World.Private], accounts
// come from [World.Account]. Time: [World.Advance] moves the world's clock
// (tokens and signed URLs end), [World.ExpireURLs] and [World.ExpireTokens]
// end what was handed out so far. Credentials seen where they do not belong
// are in [World.Leaks].
//
// Harm: [Host.Fault] arms a [Fault] for the next n matching requests of a
// host and returns its [Armed] handle, which tells when it struck and lets a
// stalled answer go on.
//
// Content: [Image], [Index], [Layer] and their Docker twins are computed while
// they are read, so a layer of 256 MiB costs no memory. [World.PutBlob] and
// [World.PutManifest] store what no honest registry would.
//
// [World.DNS] answers the played names. With Options.RealPorts every host
// also listens on a loopback address of its own, which is how the command
// world serves real clients.
package world
