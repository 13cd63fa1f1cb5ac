package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiffcluster/skiff/test/bench/load"
)

// processFigures are of skiff as a process of its own.
func processFigures() []figure {
	return []figure{
		{"skiff server: exec to /readyz, empty disk", "< 250 ms", func(context.Context) (string, error) {
			return repeat(5, func() (time.Duration, error) {
				s, err := startServer()
				if err != nil {
					return 0, err
				}
				defer s.stop()
				return s.ready, nil
			})
		}},
		{"skiff server: idle memory", "< 150 MB resident, < 70 MB anonymous", func(context.Context) (string, error) {
			return idle(func(s *server, _ time.Duration) (string, error) { return s.memory() })
		}},
		{"skiff server: idle CPU", "< 1 % of a core", func(context.Context) (string, error) {
			return idle(func(s *server, window time.Duration) (string, error) {
				before, err := s.cpu()
				if err != nil {
					return "", err
				}
				time.Sleep(window)
				after, err := s.cpu()
				return fmt.Sprintf("%.2f %%", float64(after-before)/float64(window)*100), err
			})
		}},
	}
}

const port = "26443"

// server is a `skiff server` with a directory of its own.
type server struct {
	cmd   *exec.Cmd
	dir   string
	ready time.Duration
	out   *bytes.Buffer
}

func startServer(args ...string) (*server, error) {
	dir, err := os.MkdirTemp("", "skiff-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, out: &bytes.Buffer{}}
	s.cmd = exec.Command(filepath.Join("bin", "skiff"), append([]string{
		"server", "--data-dir", filepath.Join(dir, "data"), "--bind-address", "127.0.0.1", "--secure-port", port,
	}, args...)...)
	s.cmd.Stderr = s.out
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // of our own server
	for time.Since(begin) < time.Minute {
		resp, err := client.Get("https://127.0.0.1:" + port + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				s.ready = time.Since(begin)
				return s, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("not ready within a minute: %s", s.out)
}

// restConfig is the administrator's, whose file comes after the first answer.
func (s *server) restConfig() (*restclient.Config, error) {
	path := filepath.Join(s.dir, "data", "admin.conf")
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		if err == nil {
			cfg.QPS = -1
			return cfg, nil
		}
		if time.Since(begin) > time.Minute {
			return nil, err
		}
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

// idle measures a server that has had time to become quiet.
func idle(measure func(*server, time.Duration) (string, error)) (string, error) {
	s, err := startServer()
	if err != nil {
		return "", err
	}
	defer s.stop()
	time.Sleep(10 * time.Second)
	return measure(s, 30*time.Second)
}

func (s *server) memory() (string, error) {
	values, err := s.status()
	return fmt.Sprintf("%d MB resident, %d anonymous", values["VmRSS"]/1024, values["RssAnon"]/1024), err
}

func (s *server) status() (map[string]int, error) { return load.ProcessStatus(s.cmd.Process.Pid) }

func (s *server) cpu() (time.Duration, error) { return load.ProcessCPU(s.cmd.Process.Pid) }
