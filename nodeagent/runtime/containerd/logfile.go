//go:build linux

package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// maxLogLine is the longest line in one entry, CRI's limit; longer ones are cut
// into partial entries.
const maxLogLine = 16 << 10

// logFile is a container's log in CRI's format: "time stream tag text", where
// tag is F for a full line, P for a part of one. It is rotated by size: the
// older ones carry the time of rotation in their names.
type logFile struct {
	path     string
	maxSize  int64
	maxFiles int

	mu   sync.Mutex
	file *os.File
	size int64
}

// write appends what a stream printed. The end of p that has no newline yet is
// written at once, as a partial entry: a prompt shows up, and nothing waits in
// memory for a crash.
func (l *logFile) write(now time.Time, stream string, p []byte) error {
	if l.path == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	n, err := l.file.Write(formatLog(now, stream, p))
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if l.size >= l.maxSize && p[len(p)-1] == '\n' {
		return l.rotate(now)
	}
	return nil
}

func formatLog(now time.Time, stream string, p []byte) []byte {
	prefix := now.AppendFormat(nil, time.RFC3339Nano)
	prefix = append(prefix, ' ')
	prefix = append(prefix, stream...)
	out := make([]byte, 0, len(p)+(bytes.Count(p, []byte{'\n'})+1)*(len(prefix)+4))
	for len(p) > 0 {
		tag, line, rest := " F ", p, []byte(nil)
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, rest = p[:i], p[i+1:]
		} else {
			tag = " P "
		}
		if len(line) > maxLogLine {
			tag, line, rest = " P ", p[:maxLogLine], p[maxLogLine:]
		}
		out = append(append(append(append(out, prefix...), tag...), line...), '\n')
		p = rest
	}
	return out
}

func (l *logFile) open() error {
	if l.file != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// rotate renames the full log and removes the oldest ones.
func (l *logFile) rotate(now time.Time) error {
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := os.Rename(l.path, l.path+"."+now.Format("20060102-150405.000000000")); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	old, err := filepath.Glob(l.path + ".*")
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	slices.Sort(old)
	// The one being written counts as well.
	for len(old) > l.maxFiles-1 {
		if err := os.Remove(old[0]); err != nil {
			return fmt.Errorf("remove old log: %w", err)
		}
		old = old[1:]
	}
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
