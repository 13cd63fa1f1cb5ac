//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/containerd/containerd/v2/client"
)

// SupervisorConfig says where a containerd of our own is and lives.
type SupervisorConfig struct {
	// BinDir has containerd, containerd-shim-runc-v2 and runc.
	BinDir string
	// DataDir keeps images and writable layers.
	DataDir string
	// RunDir keeps the socket and what does not outlive a reboot.
	RunDir string
}

// Supervisor keeps one containerd running. containerd outlives it: a later
// supervisor on the same directories takes it over.
type Supervisor struct{ cfg SupervisorConfig }

// maxSocketPath is what the kernel allows, less the ".ttrpc" that containerd
// appends for its second socket.
const maxSocketPath = 107 - len(".ttrpc")

// configFile: nothing that needs CRI, and no plugin that we don't use.
var configFile = template.Must(template.New("config").Parse(`version = 3
root = {{printf "%q" .Root}}
state = {{printf "%q" .State}}
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.differ.v1.erofs", "io.containerd.mount-handler.v1.erofs",
]

[grpc]
address = {{printf "%q" .Address}}

[ttrpc]
address = {{printf "%q" .TTRPC}}
`))

// NewSupervisor checks that all binaries are there and that paths can work.
func NewSupervisor(cfg SupervisorConfig) (*Supervisor, error) {
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := os.Stat(filepath.Join(cfg.BinDir, name)); err != nil {
			return nil, fmt.Errorf("%s is not in %s: build it with \"make containerd\" or name a running containerd with --containerd: %w", name, cfg.BinDir, err)
		}
	}
	s := &Supervisor{cfg: cfg}
	if len(s.Address()) > maxSocketPath {
		return nil, fmt.Errorf("path of containerd's socket %q is longer than %d characters: choose a shorter data directory", s.Address(), maxSocketPath)
	}
	return s, nil
}

// Address of the socket.
func (s *Supervisor) Address() string { return filepath.Join(s.cfg.RunDir, "containerd.sock") }

// RuncBinary and RuncRoot are what Config needs to use the same runc.
func (s *Supervisor) RuncBinary() string { return filepath.Join(s.cfg.BinDir, "runc") }

// RuncRoot is runc's state directory.
func (s *Supervisor) RuncRoot() string { return filepath.Join(s.cfg.RunDir, "runc") }

func (s *Supervisor) pidFile() string { return filepath.Join(s.cfg.RunDir, "containerd.pid") }

// Run keeps containerd running until ctx ends, and leaves it running then.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := s.writeConfig(); err != nil {
		return err
	}
	// The first restart is at once; one that fails again and again is not
	// started more than every five seconds.
	delay := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		process, err := s.findOrStart(ctx)
		if err == nil {
			err = process.wait(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		klog.FromContext(ctx).Info("Containerd ended, starting it again", "reason", err, "log", s.logFile())
		if time.Since(began) > 10*time.Second {
			delay = 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(max(2*delay, 100*time.Millisecond), 5*time.Second)
	}
	return nil //nolint:nilerr // the last error is of our own stopping
}

func (s *Supervisor) logFile() string { return filepath.Join(s.cfg.RunDir, "containerd.log") }

func (s *Supervisor) configPath() string { return filepath.Join(s.cfg.RunDir, "containerd.toml") }

func (s *Supervisor) writeConfig() error {
	for _, dir := range []string{s.cfg.DataDir, s.cfg.RunDir, s.RuncRoot()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make containerd directory: %w", err)
		}
	}
	f, err := os.Create(s.configPath())
	if err != nil {
		return fmt.Errorf("write containerd configuration: %w", err)
	}
	err = configFile.Execute(f, map[string]string{
		"Root": s.cfg.DataDir, "State": filepath.Join(s.cfg.RunDir, "state"), "Address": s.Address(), "TTRPC": s.Address() + ".ttrpc",
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write containerd configuration: %w", err)
	}
	return nil
}

// process is a containerd, of our own or of an earlier agent, by its pidfd: a
// number that was reused can't be mistaken for it.
type process struct {
	fd  int
	cmd *exec.Cmd // of our own
}

func (s *Supervisor) findOrStart(ctx context.Context) (*process, error) {
	if p, err := s.find(); err != nil || p != nil {
		return p, err
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open containerd log: %w", err)
	}
	defer log.Close()
	// Not bound to ctx: it outlives this process.
	cmd := exec.Command(filepath.Join(s.cfg.BinDir, "containerd"), "--config", s.configPath(), "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PATH="+s.cfg.BinDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	// A session of its own, so that Ctrl-C in the agent's terminal spares it.
	fd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &fd}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	if err := os.WriteFile(s.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return nil, fmt.Errorf("write containerd's process number: %w", err)
	}
	klog.FromContext(ctx).Info("Started containerd", "pid", cmd.Process.Pid, "address", s.Address())
	return &process{fd: fd, cmd: cmd}, nil
}

// find gives the containerd that runs with our configuration, nil if none does.
func (s *Supervisor) find() (*process, error) {
	data, err := os.ReadFile(s.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find containerd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, nil //nolint:nilerr // half-written before a crash of the machine
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, nil //nolint:nilerr // gone
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || !strings.Contains(string(line), s.configPath()+"\x00") {
		return nil, unix.Close(fd) // another process got the number
	}
	return &process{fd: fd}, nil
}

// wait waits for the end of the process or of ctx, without ending either.
func (p *process) wait(ctx context.Context) error {
	file := os.NewFile(uintptr(p.fd), "pidfd")
	done := make(chan error, 1)
	stop, wake, err := os.Pipe()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	go func() {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				done <- err
				return
			}
			if fds[0].Revents != 0 || fds[1].Revents != 0 {
				done <- nil
				return
			}
		}
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		wake.Close()
		<-done //nolint:errcheck // the wait was cut short on purpose
		if p.cmd != nil {
			err = p.cmd.Process.Release()
		}
		return errors.Join(err, stop.Close(), file.Close())
	}
	if p.cmd != nil && err == nil {
		err = p.cmd.Wait()
	}
	if err == nil {
		err = errors.New("its process is gone")
	}
	wake.Close()
	return errors.Join(err, stop.Close(), file.Close())
}

// WaitServing waits until containerd answers.
func (s *Supervisor) WaitServing(ctx context.Context) error {
	for {
		if _, err := os.Stat(s.Address()); err == nil {
			c, err := client.New(s.Address(), client.WithTimeout(time.Second))
			if err == nil {
				_, err = c.Version(ctx)
				err = errors.Join(err, c.Close())
			}
			if err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd at %s, see %s: %w", s.Address(), s.logFile(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop ends the containerd of these directories, if it runs. Containers go on
// without it.
func (s *Supervisor) Stop(ctx context.Context) error {
	p, err := s.find()
	if err != nil || p == nil {
		return err
	}
	file := os.NewFile(uintptr(p.fd), "pidfd")
	defer file.Close()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(p.fd, sig, nil, 0); err != nil {
			if errors.Is(err, unix.ESRCH) {
				break
			}
			return fmt.Errorf("stop containerd: %w", err)
		}
		if waitPidfd(ctx, p.fd, 5*time.Second) {
			break
		}
	}
	if err := os.Remove(s.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop containerd: %w", err)
	}
	return ctx.Err()
}

// waitPidfd says whether the process ended in time.
func waitPidfd(ctx context.Context, fd int, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ctx.Err() == nil && time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		if err == nil && n > 0 {
			return true
		}
	}
	return false
}
