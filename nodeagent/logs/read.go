package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
)

// lookAgain is how often a followed log is looked at where the kernel has not
// told of a change: to see that the container has ended.
const lookAgain = time.Second

// Read writes the log to stdout and stderr according to options (follow,
// tailLines, sinceSeconds, sinceTime, timestamps, limitBytes, stream); either
// writer may be nil. With follow it goes on until running gives false and all
// is read, or ctx ends. Rotated files are followed into, but not gone back to.
func Read(ctx context.Context, path string, options *corev1.PodLogOptions, running func() bool, stdout, stderr io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("failed to open log file %q: %w", path, err)
	}
	r := &reader{path: path, file: file, out: newOutput(options, time.Now(), stdout, stderr)}
	defer func() { r.file.Close() }()
	if options.TailLines != nil {
		offset, err := tailOffset(file, *options.TailLines)
		if err != nil {
			return fmt.Errorf("failed to find the last %d lines of log file %q: %w", *options.TailLines, path, err)
		}
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("failed to seek in log file %q: %w", path, err)
		}
	}
	r.buffered = bufio.NewReaderSize(file, 64<<10)
	if options.Follow {
		err = r.follow(ctx, running)
	} else {
		err = r.toEnd(ctx)
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// reader reads one log.
type reader struct {
	path     string
	file     *os.File
	buffered *bufio.Reader
	torn     []byte // the beginning of a line that is still being written
	out      *output
}

// toEnd reads all whole lines that are there.
func (r *reader) toEnd(ctx context.Context) error {
	for ctx.Err() == nil {
		b, err := r.buffered.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			r.torn = append(r.torn, b...)
			continue
		case errors.Is(err, io.EOF):
			r.torn = append(r.torn, b...)
			return nil
		case err != nil:
			return fmt.Errorf("failed to read log file %q: %w", r.path, err)
		}
		if len(r.torn) > 0 {
			b = append(r.torn, b...)
			r.torn = b[:0]
		}
		if err := r.out.write(bytes.TrimSuffix(b, []byte{'\n'})); err != nil {
			return err
		}
	}
	return nil
}

// follow reads until the container has ended.
func (r *reader) follow(ctx context.Context, running func() bool) error {
	changes, stop := watchDir(filepath.Dir(r.path))
	defer stop()
	timer := time.NewTicker(lookAgain)
	defer timer.Stop()
	for ctx.Err() == nil {
		// Both are asked before the file is read to its end: what was written
		// before the container ended or the file was put aside is seen.
		alive, rotated := running(), r.rotated()
		if err := r.toEnd(ctx); err != nil {
			return err
		}
		if rotated {
			if err := r.reopen(); err != nil {
				return err
			}
			continue
		}
		if !alive {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-changes:
		case <-timer.C:
		}
	}
	return nil
}

// rotated tells whether the path has another file than the one being read.
func (r *reader) rotated() bool {
	now, err := os.Stat(r.path)
	if err != nil {
		return false // Between two files, or removed with its pod.
	}
	read, err := r.file.Stat()
	return err == nil && !os.SameFile(now, read)
}

func (r *reader) reopen() error {
	file, err := os.Open(r.path)
	if err != nil {
		return fmt.Errorf("failed to open log file %q: %w", r.path, err)
	}
	r.file.Close()
	r.file, r.torn = file, nil
	r.buffered.Reset(file)
	return nil
}

// watchDir tells of changes in a directory. Where the kernel has no more
// watches to give, it tells of none: the caller looks from time to time.
func watchDir(dir string) (<-chan fsnotify.Event, func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, func() {}
	}
	if err := w.Add(dir); err != nil {
		w.Close()
		return nil, func() {}
	}
	return w.Events, func() { w.Close() }
}

// tailOffset is where the last n lines begin.
func tailOffset(f io.ReaderAt, n int64) (int64, error) {
	end, err := sizeOf(f)
	if err != nil || n <= 0 {
		return end, err
	}
	const block = 64 << 10
	buf := make([]byte, block)
	var seen int64
	for at := end; at > 0; {
		length := min(block, at)
		at -= length
		if _, err := f.ReadAt(buf[:length], at); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := length - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 {
				continue // The end of the last line begins no other.
			}
			if seen++; seen == n {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}

func sizeOf(f io.ReaderAt) (int64, error) {
	switch f := f.(type) {
	case *os.File:
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	case interface{ Size() int64 }:
		return f.Size(), nil
	}
	return 0, errors.New("a reader of unknown size")
}

// Tail gives the last lines of a log without their times, at most maxLines and
// maxBytes, for the message of a container that ended with
// terminationMessagePolicy FallbackToLogsOnError.
func Tail(path string, maxLines, maxBytes int) (string, error) {
	lines := int64(maxLines)
	var b bytes.Buffer
	err := Read(context.Background(), path, &corev1.PodLogOptions{TailLines: &lines}, nil, &b, &b)
	if err != nil {
		return "", err
	}
	text := b.Bytes()
	if len(text) > maxBytes {
		text = text[len(text)-maxBytes:]
	}
	return string(text), nil
}
