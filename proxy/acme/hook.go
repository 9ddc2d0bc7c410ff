package acme

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// hook is a program that puts records into DNS and takes them out again: PROGRAM present|cleanup FQDN. VALUE, as lego's exec provider
// calls it, so that those that exist can be used. There are more DNS services than we would want to know; each has a command.
type hook struct{ program string }

// hookTime is how long it may take, until the record can be seen.
const hookTime = 5 * time.Minute

// Present returns when the program has.
func (h hook) Present(ctx context.Context, c acme.Challenge) error { return h.run(ctx, "present", c) }

// CleanUp takes the record out again.
func (h hook) CleanUp(ctx context.Context, c acme.Challenge) error { return h.run(ctx, "cleanup", c) }

func (h hook) run(ctx context.Context, action string, c acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, action, c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization())
	cmd.WaitDelay = 5 * time.Second // for what it started and left behind
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %.500s", h.program, action, err, bytes.TrimSpace(out))
	}
	return nil
}
