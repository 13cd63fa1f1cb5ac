//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/logs"
)

// copier makes CRI logs from what containers print.
//
//	container ─▶ shim ─▶ raw file ─▶ copier (here) ─┬▶ log file, CRI format
//	                                                └▶ who is attached
//
// The shim appends to plain files and needs no reader: an agent that is away
// loses nothing and stops nobody, it goes on at the offset that it keeps
// beside the file. inotify says when there is more. What has been copied is
// given back to the file system by punching holes.
type copier struct {
	rotation logs.Rotation
	inotify  *os.File
	fd       int

	mu      sync.Mutex
	byWatch map[int]*stream
	byID    map[string]*output
}

// outputs are the paths given to a shim.
type outputs struct{ stdin, stdout, stderr string }

// output is one container's.
type output struct {
	path     string // of the log; empty for none
	rotation logs.Rotation
	streams  []*stream
	stdin    string // path of the FIFO

	opening sync.Mutex
	log     *logs.File // opened with the first output

	mu    sync.Mutex
	taps  map[*tap]struct{}
	ended chan struct{}
	input *os.File // open for writing while somebody is or was attached
}

// tap gets a copy of the output from now on.
type tap struct{ stdout, stderr io.Writer }

// stream is one raw file.
type stream struct {
	owner *output
	name  string // "stdout" or "stderr", as CRI logs have it
	raw   *os.File
	// progress is a file with the offset in raw up to which all is in the log.
	progress *os.File
	watch    int

	mu      sync.Mutex // held while copying
	offset  int64
	punched int64
	closed  bool
}

const (
	copyBuffer = 32 << 10
	// punchEvery is how much is copied between two holes.
	punchEvery = 1 << 20
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

func newCopier(rotation logs.Rotation) (*copier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch output of containers: %w", err)
	}
	return &copier{
		rotation: rotation, inotify: os.NewFile(uintptr(fd), "inotify"), fd: fd,
		byWatch: map[int]*stream{}, byID: map[string]*output{},
	}, nil
}

func (r *Runtime) ioDir(id string) string { return filepath.Join(r.cfg.RunDir, "io", id) }

// open makes the files of a new container.
func (l *copier) open(dir string, c *container) (outputs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return outputs{}, fmt.Errorf("make output directory: %w", err)
	}
	paths := pathsIn(dir, c)
	for _, p := range []string{paths.stdout, paths.stderr} {
		if p == "" {
			continue
		}
		f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return outputs{}, fmt.Errorf("make output file: %w", err)
		}
		if err := f.Close(); err != nil {
			return outputs{}, fmt.Errorf("make output file: %w", err)
		}
	}
	if paths.stdin != "" {
		if err := unix.Mkfifo(paths.stdin, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
			return outputs{}, fmt.Errorf("make stdin: %w", err)
		}
	}
	if c.LogPath != "" {
		// A container that writes nothing has an empty log, not none.
		log, err := logs.Open(c.LogPath, l.rotation)
		if err != nil {
			return outputs{}, err
		}
		if err := log.Close(); err != nil {
			return outputs{}, fmt.Errorf("make log: %w", err)
		}
	}
	return paths, l.resume(dir, c)
}

func pathsIn(dir string, c *container) outputs {
	p := outputs{stdout: filepath.Join(dir, "stdout")}
	if !c.tty {
		p.stderr = filepath.Join(dir, "stderr")
	}
	if c.stdin {
		p.stdin = filepath.Join(dir, "stdin")
	}
	return p
}

// resume begins, or goes on, copying a container's output.
func (l *copier) resume(dir string, c *container) error {
	l.mu.Lock()
	_, ok := l.byID[c.ID]
	l.mu.Unlock()
	if ok {
		return nil
	}
	paths := pathsIn(dir, c)
	o := &output{path: c.LogPath, rotation: l.rotation, stdin: paths.stdin, taps: map[*tap]struct{}{}, ended: make(chan struct{})}
	for name, path := range map[string]string{"stdout": paths.stdout, "stderr": paths.stderr} {
		if path == "" {
			continue
		}
		s, err := openStream(o, name, path)
		if err != nil {
			o.close()
			return err
		}
		o.streams = append(o.streams, s)
	}
	l.mu.Lock()
	l.byID[c.ID] = o
	for _, s := range o.streams {
		wd, err := unix.InotifyAddWatch(l.fd, s.raw.Name(), unix.IN_MODIFY)
		if err != nil {
			l.mu.Unlock()
			l.forget(c.ID)
			return fmt.Errorf("watch output of container: %w (is fs.inotify.max_user_watches too low?)", err)
		}
		s.watch = wd
		l.byWatch[wd] = s
	}
	l.mu.Unlock()
	for _, s := range o.streams {
		if err := s.copy(); err != nil {
			return err
		}
	}
	return nil
}

func openStream(o *output, name, path string) (*stream, error) {
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open output of container: %w", err)
	}
	progress, err := os.OpenFile(path+".offset", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open output of container: %w", err), raw.Close())
	}
	s := &stream{owner: o, name: name, raw: raw, progress: progress}
	var at [8]byte
	if n, _ := progress.ReadAt(at[:], 0); n == len(at) {
		s.offset = int64(le(at))
	}
	return s, nil
}

func le(b [8]byte) uint64 {
	var v uint64
	for i := range b {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// run copies whenever something was written, until ctx ends.
func (l *copier) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = l.inotify.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := l.inotify.Read(buf)
		if err != nil {
			if ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "Reading changes of container output")
			}
			return
		}
		for i := 0; i+unix.SizeofInotifyEvent <= n; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[i]))
			i += unix.SizeofInotifyEvent + int(event.Len)
			if event.Mask&unix.IN_Q_OVERFLOW != 0 {
				l.copyAll(ctx)
				continue
			}
			l.mu.Lock()
			s := l.byWatch[int(event.Wd)]
			l.mu.Unlock()
			if s == nil {
				continue
			}
			if err := s.copy(); err != nil {
				klog.FromContext(ctx).Error(err, "Writing log of container", "path", s.owner.path)
			}
		}
	}
}

// copyAll makes up for changes that the kernel did not report one by one.
func (l *copier) copyAll(ctx context.Context) {
	l.mu.Lock()
	all := make([]*stream, 0, len(l.byWatch))
	for _, s := range l.byWatch {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		if err := s.copy(); err != nil {
			klog.FromContext(ctx).Error(err, "Writing log of container", "path", s.owner.path)
		}
	}
}

// copy moves what is new in the raw file to the log. The offset is kept after
// the log is written: a crash between the two repeats output, never loses it.
func (s *stream) copy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	b := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(b)
	for {
		n, err := s.raw.ReadAt(b[:], s.offset)
		if n == 0 {
			if err == io.EOF {
				err = nil
			}
			return err
		}
		if err := s.owner.write(s.name, b[:n]); err != nil {
			return err
		}
		s.owner.tee(s.name, b[:n])
		s.offset += int64(n)
		var at [8]byte
		for i := range at {
			at[i] = byte(uint64(s.offset) >> (8 * i))
		}
		if _, err := s.progress.WriteAt(at[:], 0); err != nil {
			return fmt.Errorf("keep log offset: %w", err)
		}
		if s.offset-s.punched >= punchEvery {
			// Where the file system can't, the file stays as it is until the
			// container ends.
			_ = unix.Fallocate(int(s.raw.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, s.offset)
			s.punched = s.offset
		}
	}
}

// write appends output to the log.
func (o *output) write(stream string, p []byte) error {
	if o.path == "" {
		return nil
	}
	o.opening.Lock()
	defer o.opening.Unlock()
	if o.log == nil {
		f, err := logs.Open(o.path, o.rotation)
		if err != nil {
			return err
		}
		o.log = f
	}
	_, err := o.log.Stream(stream).Write(p)
	return err
}

// tee gives output to who is attached. Whoever can't take it is dropped by its
// own writer's error.
func (o *output) tee(name string, p []byte) {
	o.mu.Lock()
	taps := make([]*tap, 0, len(o.taps))
	for t := range o.taps {
		taps = append(taps, t)
	}
	o.mu.Unlock()
	for _, t := range taps {
		w := t.stdout
		if name == "stderr" {
			w = t.stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(p); err != nil {
			o.detach(t)
		}
	}
}

func (o *output) attach(t *tap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taps[t] = struct{}{}
}

func (o *output) detach(t *tap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.taps, t)
}

// get gives the output of a container that is being followed.
func (l *copier) get(id string) *output {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byID[id]
}

// finish copies the rest of an ended container's output and lets go of it. The
// raw files are removed with the container, or now, since they are in the log.
func (l *copier) finish(id string) {
	o := l.get(id)
	if o == nil {
		return
	}
	for _, s := range o.streams {
		if s.copy() == nil {
			_ = os.Remove(s.raw.Name())
			_ = os.Remove(s.progress.Name())
		}
	}
	l.forget(id)
}

func (l *copier) forget(id string) {
	l.mu.Lock()
	o := l.byID[id]
	delete(l.byID, id)
	if o != nil {
		for _, s := range o.streams {
			if l.byWatch[s.watch] == s {
				delete(l.byWatch, s.watch)
				_, _ = unix.InotifyRmWatch(l.fd, uint32(s.watch)) // gone already if the file is
			}
		}
	}
	l.mu.Unlock()
	if o != nil {
		o.close()
	}
}

func (o *output) close() {
	for _, s := range o.streams {
		s.mu.Lock()
		if !s.closed {
			s.closed = true
			s.raw.Close()
			s.progress.Close()
		}
		s.mu.Unlock()
	}
	o.opening.Lock()
	if o.log != nil {
		// Fails only where old files can't be packed: nothing is lost.
		_ = o.log.Close()
		o.log = nil
	}
	o.opening.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.input != nil {
		o.input.Close()
		o.input = nil
	}
	select {
	case <-o.ended:
	default:
		close(o.ended)
	}
}

// close lets go of all containers when the agent stops.
func (l *copier) close() {
	l.mu.Lock()
	all := l.byID
	l.byID = map[string]*output{}
	l.byWatch = map[int]*stream{}
	l.mu.Unlock()
	for _, o := range all {
		o.close()
	}
	l.inotify.Close()
}
