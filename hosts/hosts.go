// Package hosts answers "which registry does this name belong to, and what
// are its rules?", resolves the names of upstreams past /etc/hosts, and edits
// the override block in a hosts file.
//
// A [Table] is made once from a list of registries and never changes, so any
// number of goroutines may ask it. A [Resolver] asks DNS servers itself: an
// entry in /etc/hosts that points a registry at this machine would otherwise
// make the proxy dial itself.
//
// The package knows nothing of HTTP, and it does not decide which addresses
// may be dialled; that is checked at the moment of the dial.
package hosts
