package audit

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/klog/v2"
)

// file is the log, which begins anew when it has grown to a size. Full ones are
// kept beside it, named by the time of their end.
type file struct {
	path     string // "-" is standard output
	limit    int64  // bytes; zero: no limit
	backups  int    // full ones that are kept; zero: all
	age      time.Duration
	compress bool

	mu    sync.Mutex
	out   *os.File
	size  int64
	tidy  sync.Mutex     // one at a time
	tidyG sync.WaitGroup // what goes on beside
}

// timeFormat is the one of upstream's files, in UTC.
const timeFormat = "2006-01-02T15-04-05.000"

func open(o options.AuditLogOptions) (*file, error) {
	f := &file{path: o.Path, limit: int64(o.MaxSize) << 20, backups: o.MaxBackups, age: time.Duration(o.MaxAge) * 24 * time.Hour, compress: o.Compress}
	if f.path == "-" {
		f.limit, f.out = 0, os.Stdout
		return f, nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, err
	}
	return f, f.begin()
}

// begin opens the log; what is in it stays.
func (f *file) begin() error {
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	f.out, f.size = out, info.Size()
	return nil
}

// Write implements io.Writer. After a failure the next call tries again: a disk
// that was full may have room.
func (f *file) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out != nil && f.limit > 0 && f.size > 0 && f.size+int64(len(line)) > f.limit {
		if err := f.end(time.Now()); err != nil {
			return 0, err
		}
	}
	if f.out == nil {
		if err := f.begin(); err != nil {
			return 0, err
		}
	}
	n, err := f.out.Write(line)
	f.size += int64(n)
	return n, err
}

// end puts the full log aside.
func (f *file) end(now time.Time) error {
	err := f.out.Close()
	f.out = nil
	if err != nil {
		return err
	}
	aside := f.aside(now)
	for _, err := os.Stat(aside); err == nil; _, err = os.Stat(aside) {
		now = now.Add(time.Millisecond) // two in one millisecond
		aside = f.aside(now)
	}
	if err := os.Rename(f.path, aside); err != nil {
		return err
	}
	f.tidyG.Go(func() {
		f.tidy.Lock()
		defer f.tidy.Unlock()
		if err := f.tidyUp(now); err != nil {
			klog.Background().Error(err, "Old audit logs are not tidied up", "path", f.path)
		}
	})
	return nil
}

// aside is the name of a log that was full at a time.
func (f *file) aside(at time.Time) string {
	ext := filepath.Ext(f.path)
	return strings.TrimSuffix(f.path, ext) + "-" + at.UTC().Format(timeFormat) + ext
}

// tidyUp removes the full logs that are too many or too old and compresses the
// rest.
func (f *file) tidyUp(now time.Time) (err error) {
	names, ended, err := f.full()
	if err != nil {
		return err
	}
	for i, name := range names {
		switch {
		case f.backups > 0 && i >= f.backups, f.age > 0 && now.Sub(ended[i]) > f.age:
			err = errors.Join(err, os.Remove(name))
		case f.compress && !strings.HasSuffix(name, ".gz"):
			err = errors.Join(err, compress(name))
		}
	}
	return err
}

// full lists the full logs with the times of their end, newest first.
func (f *file) full() (names []string, ended []time.Time, err error) {
	dir, ext := filepath.Dir(f.path), filepath.Ext(f.path)
	prefix := strings.TrimSuffix(filepath.Base(f.path), ext) + "-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(entries) // the names sort by time
	for _, e := range entries {
		stamp, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".gz"), ext), prefix)
		if t, err := time.Parse(timeFormat, stamp); ok && err == nil {
			names, ended = append(names, filepath.Join(dir, e.Name())), append(ended, t)
		}
	}
	return names, ended, nil
}

// compress replaces a file by name.gz.
func compress(name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read only
	out, err := os.OpenFile(name+".gz", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return fmt.Errorf("compress %s: %w", name, errors.Join(err, os.Remove(name+".gz")))
	}
	return os.Remove(name)
}

func (f *file) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tidyG.Wait()
	if f.out == nil || f.path == "-" {
		return
	}
	if err := f.out.Close(); err != nil {
		klog.Background().Error(err, "Audit log is not closed", "path", f.path)
	}
	f.out = nil
}
