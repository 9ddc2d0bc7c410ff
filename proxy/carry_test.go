package proxy

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestCarry: whatever the pieces and pauses are in which bytes come, they go on as they are, and a tunnel that pauses gives its large
// buffer back and still carries on.
func TestCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noise := make([]byte, 300<<10)
		rand.NewChaCha8([32]byte{1}).Read(noise)
		client, from := net.Pipe()
		var got bytes.Buffer
		done := make(chan int64)
		go func() {
			n, err := carry(&got, from)
			if err != nil {
				t.Error(err)
			}
			done <- n
		}()
		sent := 0
		for _, size := range []int{1, waitingSize - 1, waitingSize, waitingSize + 1, 100 << 10, 3, 64 << 10, 70 << 10, 1} {
			if _, err := client.Write(noise[sent : sent+size]); err != nil {
				t.Fatal(err)
			}
			sent += size
			if size%2 == 0 {
				time.Sleep(2 * rushPause)
			}
			synctest.Wait()
			if got.Len() != sent {
				t.Fatalf("after a piece of %d: %d of %d bytes have gone on", size, got.Len(), sent)
			}
		}
		client.Close()
		if n := <-done; n != int64(sent) || !bytes.Equal(got.Bytes(), noise[:sent]) {
			t.Errorf("got %d bytes, the same: %v, want %d", n, bytes.Equal(got.Bytes(), noise[:sent]), sent)
		}
	})
}
