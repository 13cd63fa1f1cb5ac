package command

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// setTimerSlack says how late the timers of this process may be when it sleeps,
// so that the kernel wakes it once for several; 0 is the kernel's default, 50 µs.
// It is a thread's, and new ones have that of the thread which starts them: see
// PR_SET_TIMERSLACK in prctl(2). For threads other than its own, a process needs
// CAP_SYS_NICE.
func setTimerSlack(d time.Duration) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, t := range threads {
		err := os.WriteFile("/proc/"+t.Name()+"/timerslack_ns", strconv.AppendInt(nil, d.Nanoseconds(), 10), 0)
		if err != nil && !os.IsNotExist(err) { // a thread that has ended
			return fmt.Errorf("set timer slack: %w", err)
		}
	}
	return nil
}
