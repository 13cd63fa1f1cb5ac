package e2e_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user with no rights at all.
var nobody = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Setpgid: true}

// TestCommandLineMistakes are starts that can't succeed: each says why in one
// message, fails, and leaves nothing behind.
func TestCommandLineMistakes(t *testing.T) {
	inside(t)
	other := clusterDir(t)
	started := spawn(t, skiff("up", "--runtime=simulated", "--secure-port=0", "--profile=other", "--data-dir="+other, "--kubeconfig="+other+".conf"))
	eventually(t, "a cluster with simulated nodes is ready", func() (bool, string) {
		return strings.Contains(started.out.String(), "Ready in "), started.out.String()
	})
	port := listen(t)
	foreign := clusterDir(t)
	if err := os.MkdirAll(filepath.Join(foreign, "photos"), 0o700); err != nil {
		t.Fatal(err)
	}
	closed := clusterDir(t)
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	file := clusterDir(t)
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	flagsFile := write(t, "secure-prot: 1\n")
	simulated := []string{"--runtime=simulated", "--secure-port=0"}

	for _, m := range []struct {
		name string
		args []string // after up; --data-dir is added where it is missing
		as   *syscall.SysProcAttr
		code int
		says string
	}{
		{name: "an unknown flag", args: []string{"--prot=1"}, code: 2, says: "Error: unknown flag: --prot\nRun 'skiff up --help' for usage.\n"},
		{name: "an argument that is not a flag", args: []string{"now"}, code: 2, says: `Error: unknown command "now" for "skiff up"`},
		{name: "a value of another type", args: []string{"--secure-port=https"}, code: 2, says: `Error: invalid argument "https" for "--secure-port" flag`},
		{name: "a port that is none", args: []string{"--secure-port=70000"}, code: 2, says: "Error: --secure-port 70000 is not a port (0 to 65535)\n"},
		{name: "a network that is none", args: []string{"--cluster-cidr=10.244.0.0"}, code: 2, says: `Error: --cluster-cidr "10.244.0.0" is not a network such as 10.244.0.0/16`},
		{name: "networks that overlap", args: []string{"--cluster-cidr=10.96.0.0/16"}, code: 2, says: "Error: --cluster-cidr 10.96.0.0/16 and --service-cluster-ip-range 10.96.0.0/12 overlap"},
		{name: "an address that is none", args: []string{"--bind-address=here"}, code: 2, says: `Error: --bind-address "here" is not an IP address`},
		{name: "a runtime that does not exist", args: []string{"--runtime=docker"}, code: 2, says: `Error: --runtime "docker": there are containerd and simulated`},
		{name: "a proxy mode that does not exist", args: []string{"--proxy-mode=iptables"}, code: 2, says: `Error: --proxy-mode "iptables": there are ipvs and nftables`},
		{name: "a profile's name that is none", args: []string{"--profile=A/b"}, code: 2, says: `Error: profile "A/b"`},
		{name: "a flag that does not exist in the file", args: []string{"--config=" + flagsFile}, code: 2, says: `there is no flag "secure-prot" here`},
		{name: "a file of flags that is missing", args: []string{"--config=/nonexistent"}, code: 2, says: "Error: read configuration: open /nonexistent: no such file or directory"},
		{name: "containers without root", as: nobody, code: 1, says: "Error: running containers needs root: run 'sudo skiff up', or 'skiff up --runtime simulated' for pods in memory\n"},
		{name: "a port in use", args: []string{"--runtime=simulated", "--secure-port=" + port}, code: 1, says: "address already in use"},
		{name: "data of a cluster that runs", args: append(simulated, "--profile=other", "--data-dir="+other), code: 1, says: `Error: profile "other" is running already (process `},
		{name: "data of another cluster", args: append(simulated, "--data-dir="+other), code: 1, says: `is of another cluster, "other": choose another with --data-dir, or --profile other`},
		{name: "a directory of something else", args: append(simulated, "--data-dir="+foreign), code: 1, says: "is not empty and not a cluster's: choose another with --data-dir"},
		{name: "a directory without rights", args: append(simulated, "--data-dir="+closed), as: nobody, code: 1, says: "permission denied"},
		{name: "a file instead of a directory", args: append(simulated, "--data-dir="+file), code: 1, says: "not a directory"},
	} {
		t.Run(m.name, func(t *testing.T) {
			args := append([]string{"up"}, m.args...)
			dir := ""
			if !strings.Contains(strings.Join(args, " "), "--data-dir") {
				dir = clusterDir(t)
				args = append(args, "--data-dir="+dir)
			}
			kubeconfig := filepath.Join(os.Getenv(workDir), "none.conf")
			cmd := skiff(append(args, "--kubeconfig="+kubeconfig)...)
			if m.as != nil {
				cmd.SysProcAttr = m.as
			}
			refuses(t, cmd, m.code, m.says)
			if _, err := os.Stat(kubeconfig); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a kubeconfig was written: %v", err)
			}
			if m.code != 2 || dir == "" {
				return
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the data directory was made: %v", err)
			}
		})
	}
	if entries, err := os.ReadDir(foreign); err != nil || len(entries) != 1 {
		t.Errorf("the directory of something else: got %v, %v; want it as it was", entries, err)
	}
	started.signal(t, os.Interrupt)
}

// refuses runs a command that must fail with a code and a message, and with
// no more than that.
func refuses(t *testing.T, cmd *exec.Cmd, code int, says string) {
	t.Helper()
	p := spawn(t, cmd)
	eventually(t, "it gives up", func() (bool, string) {
		select {
		case <-p.ended:
			return true, ""
		default:
			return false, p.out.String()
		}
	})
	out := p.out.String()
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() != code {
		t.Errorf("got %v, want exit code %d", p.err, code)
	}
	contains(t, cmd.String(), out, says)
	if n := strings.Count(out, "Error: "); n != 1 || strings.Contains(out, "goroutine ") {
		t.Errorf("want one message, got\n%s", out)
	}
}

// TestPortInUseLeavesDataUsable fails a start and then does it right.
func TestPortInUseLeavesDataUsable(t *testing.T) {
	inside(t)
	dir := clusterDir(t)
	up := []string{"up", "--runtime=simulated", "--profile=busy", "--data-dir=" + dir, "--kubeconfig=" + dir + ".conf"}
	refuses(t, skiff(append(up, "--secure-port="+listen(t))...), 1, "address already in use")
	p := spawn(t, skiff(append(up, "--secure-port=0")...))
	eventually(t, "it is ready", func() (bool, string) { return strings.Contains(p.out.String(), "Ready in "), p.out.String() })
	p.signal(t, os.Interrupt)
	if p.err != nil {
		t.Errorf("got %v:\n%s", p.err, p.out)
	}
}

// TestCorruptedData starts on an etcd whose file is damaged.
func TestCorruptedData(t *testing.T) {
	inside(t)
	dir := clusterDir(t)
	up := []string{"up", "--runtime=simulated", "--secure-port=0", "--profile=broken", "--data-dir=" + dir, "--kubeconfig=" + dir + ".conf"}
	p := spawn(t, skiff(up...))
	eventually(t, "it is ready", func() (bool, string) { return strings.Contains(p.out.String(), "Ready in "), p.out.String() })
	p.signal(t, os.Interrupt)
	database := ""
	err := filepath.WalkDir(filepath.Join(dir, "etcd"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == "db" {
			database = path
		}
		return err
	})
	if err != nil || database == "" {
		t.Fatalf("no database below %s: %v", dir, err)
	}
	damaged := []byte(strings.Repeat("no database ", 1<<10))
	if err := os.WriteFile(database, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, skiff(up...), 1, "etcd")
	now, err := os.ReadFile(database)
	if err != nil || string(now) != string(damaged) {
		t.Errorf("the damaged file was changed: %d bytes, %v", len(now), err)
	}
}

// clusterDir is a path for a cluster's data that does not exist yet, short
// enough for sockets and passable for every user.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv(workDir), "c") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // another user's skiff is tried in it
		t.Fatal(err)
	}
	return filepath.Join(dir, "d")
}

// listen takes a port of every address.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0") //nolint:gosec // skiff would listen there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
