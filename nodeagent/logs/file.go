package logs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rotation says when a log is rotated. Zero values mean the kubelet's defaults.
type Rotation struct {
	MaxSize  int64 // bytes; 10 MiB
	MaxFiles int   // the current one included; 5
}

// rotatedFormat is the end of a rotated log's name. Names sort by age.
const rotatedFormat = "20060102-150405.000000000"

// File is the log of one running container. It rotates itself while it is
// written.
type File struct {
	path     string
	rotation Rotation

	mu      sync.Mutex
	file    *os.File
	size    int64
	packing sync.WaitGroup // of old files
	packed  error
}

// Open opens a log to append to it, and makes its directory.
func Open(path string, rotation Rotation) (*File, error) {
	if rotation.MaxSize == 0 {
		rotation.MaxSize = 10 << 20
	}
	if rotation.MaxFiles == 0 {
		rotation.MaxFiles = 5
	}
	if rotation.MaxFiles < 2 {
		return nil, fmt.Errorf("open log %s: at least 2 files are needed to rotate, not %d", path, rotation.MaxFiles)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of log %s: %w", path, err)
	}
	f := &File{path: path, rotation: rotation}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the current file; f.mu is held.
func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Stream gives the writer of "stdout" or "stderr". What is written to it becomes
// lines of the log, partial ones where the text has no end of line or is longer
// than 16 KiB. Writers of one File may be used concurrently.
func (f *File) Stream(name string) io.Writer { return stream{file: f, name: name} }

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.file != nil {
		err = f.file.Close()
		f.file = nil
	}
	f.packing.Wait()
	return errors.Join(err, f.packed)
}

// write appends lines and rotates, but not within a line of the output; f.mu is
// held.
func (f *File) write(b []byte, lineEnds bool) error {
	if f.file == nil {
		return fmt.Errorf("write log %s: %w", f.path, fs.ErrClosed)
	}
	n, err := f.file.Write(b)
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if f.size < f.rotation.MaxSize || !lineEnds {
		return nil
	}
	return f.rotate()
}

// rotate puts the current file aside; f.mu is held.
func (f *File) rotate() error {
	f.packing.Wait() // for the previous rotation: one at a time
	aside := f.path + "." + time.Now().UTC().Format(rotatedFormat)
	if err := os.Rename(f.path, aside); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	old := f.file
	if err := f.open(); err != nil {
		return err
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	f.packing.Go(func() { f.packed = prune(f.path, f.rotation.MaxFiles) })
	return nil
}

// prune removes rotated files of which there are too many and compresses all
// but the newest, which may still be read.
func prune(path string, maxFiles int) error {
	rotated, err := rotatedFiles(path)
	if err != nil {
		return err
	}
	for len(rotated) > maxFiles-1 {
		if err := os.Remove(rotated[0]); err != nil {
			return fmt.Errorf("remove an old log: %w", err)
		}
		rotated = rotated[1:]
	}
	for i, name := range rotated {
		if i < len(rotated)-1 && !strings.HasSuffix(name, ".gz") {
			if err := compress(name); err != nil {
				return fmt.Errorf("compress an old log: %w", err)
			}
		}
	}
	return nil
}

// rotatedFiles lists what was put aside of a log, the oldest first. Halves of a
// compression that was cut short are removed.
func rotatedFiles(path string) ([]string, error) {
	all, err := filepath.Glob(escapeGlob(path) + ".*")
	if err != nil {
		return nil, fmt.Errorf("list old logs: %w", err)
	}
	var rotated []string
	for _, name := range all {
		if strings.HasSuffix(name, ".tmp") {
			if err := os.Remove(name); err != nil {
				return nil, fmt.Errorf("remove a half compressed log: %w", err)
			}
			continue
		}
		rotated = append(rotated, name)
	}
	slices.Sort(rotated)
	return rotated, nil
}

// escapeGlob makes a path mean only itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// compress replaces a file by its gzipped self.
func compress(name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := name + ".tmp"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name+".gz"); err != nil {
		return err
	}
	return os.Remove(name)
}

// stream turns output into lines.
type stream struct {
	file *File
	name string
}

// Write never keeps p. Text without an end of line becomes a partial line at
// once: a prompt shows up, and nothing waits in memory for a crash.
func (s stream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	now := time.Now()
	out := make([]byte, 0, len(p)+64*(bytes.Count(p, []byte{'\n'})+1))
	for rest := p; len(rest) > 0; {
		l := line{time: now, stream: s.name, partial: true, text: rest}
		i := bytes.IndexByte(rest, '\n')
		switch {
		case i >= 0 && i <= maxText:
			l.partial, l.text, rest = false, rest[:i], rest[i+1:]
		case len(rest) > maxText:
			l.text, rest = rest[:maxText], rest[maxText:]
		default:
			rest = nil
		}
		out = appendLine(out, l)
	}
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	if err := s.file.write(out, p[len(p)-1] == '\n'); err != nil {
		return 0, err
	}
	return len(p), nil
}
