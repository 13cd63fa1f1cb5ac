package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiffcluster/skiff/cluster"
)

// upProcess is a `skiff up` whose pods are in memory.
type upProcess struct {
	profile
	cmd   *exec.Cmd
	said  *os.File
	ended chan struct{}
}

func startUp(t *testing.T, p profile, more ...string) *upProcess {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	u := &upProcess{profile: p, said: said, ended: make(chan struct{})}
	u.cmd = exec.Command("/proc/self/exe", append([]string{
		"up", "--runtime", "simulated", "--profile", p.name, "--data-dir", p.dir, "--kubeconfig", p.dir + ".conf", "--secure-port", "0",
	}, more...)...)
	u.cmd.Env = append(os.Environ(), asSkiff+"=1")
	u.cmd.Stdout, u.cmd.Stderr = said, said
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = u.cmd.Wait() // it is told to end, or killed
		close(u.ended)
	}()
	t.Cleanup(func() { u.end(t, syscall.SIGTERM) })
	return u
}

// end ends it and waits until all that it has started has ended too.
func (u *upProcess) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	_ = u.cmd.Process.Signal(s) // it may have ended
	select {
	case <-u.ended:
	case <-time.After(time.Minute):
		t.Fatalf("skiff up does not end: %s", u.output())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, m := range u.masters() {
		if err := m.idle(ctx); err != nil {
			t.Fatalf("master %s goes on without skiff up: %v", m.dir, err)
		}
	}
}

// output is what it said, and what its masters did last.
func (u *upProcess) output() string {
	raw, err := os.ReadFile(u.said.Name())
	if err != nil {
		return err.Error()
	}
	logs, _ := filepath.Glob(filepath.Join(u.dir, "masters", "*.log")) // the pattern is good
	for _, log := range logs {
		if said, err := os.ReadFile(log); err == nil {
			raw = append(raw, fmt.Sprintf("%s ends with: %s\n", log, said[max(0, len(said)-6000):])...)
		}
	}
	return string(raw)
}

func (u *upProcess) masters() (all []profile) {
	dirs, _ := filepath.Glob(filepath.Join(u.dir, "masters", "?")) // the pattern is good
	for _, d := range dirs {
		all = append(all, profile{u.name, d})
	}
	return all
}

func (u *upProcess) ready(t *testing.T) kubernetes.Interface {
	t.Helper()
	eventually(t, "skiff up is ready", func() error {
		select {
		case <-u.ended:
			t.Fatalf("skiff up ended: %s", u.output())
		default:
		}
		if _, ok := u.running(); !ok {
			return fmt.Errorf("it says: %s", u.output())
		}
		return nil
	})
	k, err := clientOf(u.profile)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so: %v", what, err)
		}
	}
}

func write(t *testing.T, k kubernetes.Interface, name string) {
	t.Helper()
	eventually(t, "a ConfigMap is written", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
}

func TestACommandThatFailsSaysWhyLast(t *testing.T) {
	for _, c := range []struct{ name, said, want string }{
		{"what it said last counts", "Error: old\nwarning\nError: new\nRun 'skiff server --help' for usage.\n", "new"},
		{"it was killed and said nothing", "Serving\n", "<nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(lastError([]byte(c.said))); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// The data of a master that was alone is the first's of several, each of which
// is a process that can be killed without the cluster's ending.
func TestEachOfSeveralMastersCanBeKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of three masters twice")
	}
	p := profile{"many", filepath.Join(t.TempDir(), "many")}
	alone := startUp(t, p)
	write(t, alone.ready(t), "of-one")
	alone.end(t, syscall.SIGTERM)

	u := startUp(t, p, "--masters", "3")
	k := u.ready(t)
	if _, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), "of-one", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if all := u.masters(); len(all) != 3 {
		t.Fatalf("there are the masters %v", all)
	}
	for i, m := range u.masters() {
		r, ok := m.running()
		if !ok || r.PID == u.cmd.Process.Pid {
			t.Fatalf("master %d is process %d of skiff up's %d", i, r.PID, u.cmd.Process.Pid)
		}
		if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		write(t, k, fmt.Sprintf("without-%d", i))
		eventually(t, "a master is started again", func() error {
			if now, ok := m.running(); !ok || now.PID == r.PID || !now.Ready {
				return fmt.Errorf("it is %+v", now)
			}
			return nil
		})
		eventually(t, "it serves", func() error {
			if s := masterState(t.Context(), p, seatOf(t, p, i)); !strings.HasPrefix(s, "ok") {
				return fmt.Errorf("it is %s", s)
			}
			return nil
		})
	}

	// Its end, however it comes, is the end of all, and the next start goes on.
	u.end(t, syscall.SIGKILL)
	again := startUp(t, p)
	k = again.ready(t)
	for _, name := range []string{"of-one", "without-0", "without-1", "without-2"} {
		if _, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	again.end(t, syscall.SIGKILL)
	if err := cluster.Remove(t.Context(), p.dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("data is left: %v", err)
	}
}

func seatOf(t *testing.T, p profile, i int) seat {
	t.Helper()
	seats, err := readSeats(p)
	if err != nil || len(seats) <= i {
		t.Fatalf("seats %v, %v", seats, err)
	}
	return seats[i]
}

func TestAMasterThatCannotStartIsToldAtOnce(t *testing.T) {
	p := profile{"broken", filepath.Join(t.TempDir(), "broken")}
	u := startUp(t, p, "--masters", "3", "--token-auth-file", "/nonexistent")
	eventually(t, "skiff up ends", func() error {
		select {
		case <-u.ended:
			return nil
		default:
			return fmt.Errorf("it says: %s", u.output())
		}
	})
	if said := u.output(); !strings.Contains(said, "master 0: ") || !strings.Contains(said, "/nonexistent") {
		t.Errorf("it says: %s", said)
	}
}
