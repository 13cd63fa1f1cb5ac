package command

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSetTimerSlack(t *testing.T) {
	own := func() string {
		t.Helper()
		b, err := os.ReadFile("/proc/self/timerslack_ns")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	if err := setTimerSlack(3 * time.Millisecond); err != nil {
		if syscall.Getuid() != 0 {
			t.Skip("needs CAP_SYS_NICE:", err)
		}
		t.Fatal(err)
	}
	if got := own(); got != "3000000" {
		t.Errorf("timers may be late by %s ns", got)
	}
	if err := setTimerSlack(0); err != nil {
		t.Fatal(err)
	}
	if got := own(); got != "50000" {
		t.Errorf("then by %s ns, the kernel's default is 50 µs", got)
	}
}
