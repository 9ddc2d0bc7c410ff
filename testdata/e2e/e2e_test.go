//go:build e2e

package e2e

import "testing"

// Test is one test with one world, since filling it takes a while.
func Test(t *testing.T) {
	u := startUpstream(t)
	t.Run("direct", func(t *testing.T) { directly(t, u) })
	t.Run("docker", func(t *testing.T) { throughDocker(t, u) })
	t.Run("others", func(t *testing.T) { throughOthers(t, u) })
	t.Run("login", func(t *testing.T) { loggingIn(t, u) })
	t.Run("README", func(t *testing.T) { asReadmeSays(t, u) })
	u.scenario(t, "CA", func(t *testing.T) { rotating(t, u) })
	u.scenario(t, "unplugged", func(t *testing.T) { unplugged(t, u) })
	u.scenario(t, "over the limit", func(t *testing.T) { overLimit(t, u) })
	u.scenario(t, "push", func(t *testing.T) { pushing(t, u) })
	u.scenario(t, "kill", func(t *testing.T) { killed(t, u) })
	u.scenario(t, "no space", func(t *testing.T) { noSpace(t, u) })
	u.scenario(t, "bad disk", func(t *testing.T) { badDisk(t, u) })
	u.scenario(t, "memory", func(t *testing.T) { memory(t, u) })
	u.scenario(t, "bad input", func(t *testing.T) { badInput(t, u) })
	u.scenario(t, "make image", func(t *testing.T) { makeImage(t, u) })
}
