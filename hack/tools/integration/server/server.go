package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
)

const (
	// start is more than a server needs on a machine that is busy with a whole
	// suite of tests.
	start = 2 * time.Minute
	// stop is when a server that was asked to end is made to.
	stop = 20 * time.Second
)

// Server is a `skiff server` without controllers and scheduler, which the
// tests bring themselves.
type Server struct {
	Dir string // its own; removed by Stop
	// Config is that of a member of system:masters with the name and the kind
	// of credentials that a kube-apiserver gives itself: a bearer token.
	Config *rest.Config
	CAFile string
	Port   int

	command *exec.Cmd
	ended   chan struct{}
	log     string
}

// SigningKeyFile is a key for service accounts' tokens, the same for all
// servers of this process: some tests start one after another over one store.
var SigningKeyFile = sync.OnceValues(func() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	pem, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return "", err
	}
	// The tests' log directory outlives them, and so does the machine's own
	// for temporary files: there is no end of a process to remove it at.
	name := filepath.Join(os.TempDir(), fmt.Sprintf("skiff-integration-%d.key", os.Getpid()))
	return name, os.WriteFile(name, pem, 0o600)
})

// Start starts the program that SKIFF names with flags, and returns when it is
// ready. tokens, a file as --token-auth-file takes, is added to its own.
func Start(flags []string, tokens string) (*Server, error) {
	dir, err := os.MkdirTemp("", "skiff-integration-")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, ended: make(chan struct{}), log: filepath.Join(dir, "log")}
	if err := s.start(flags, tokens); err != nil {
		err = errors.Join(err, s.Stop())
		return nil, err
	}
	return s, nil
}

func (s *Server) start(flags []string, tokens string) error {
	program := os.Getenv("SKIFF")
	if program == "" {
		return errors.New("SKIFF does not name the program to test")
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return err
	}
	token := hex.EncodeToString(raw)
	file := token + `,system:apiserver,` + token + `,system:masters` + "\n"
	if tokens != "" {
		more, err := os.ReadFile(tokens)
		if err != nil {
			return err
		}
		file += string(more)
	}
	tokenFile := filepath.Join(s.Dir, "tokens.csv")
	if err := os.WriteFile(tokenFile, []byte(file), 0o600); err != nil {
		return err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	kubeconfig := filepath.Join(s.Dir, "kubeconfig")
	args := append([]string{
		"server", "--data-dir=" + filepath.Join(s.Dir, "data"), "--kubeconfig=" + kubeconfig, "--without=controllers,scheduler",
		"--bind-address=127.0.0.1", "--secure-port=0", "--token-auth-file=" + tokenFile,
	}, flags...)
	s.command = exec.Command(program, args...)
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.run(); err != nil {
		s.command = nil
		return err
	}
	for deadline := time.Now().Add(start); ; time.Sleep(20 * time.Millisecond) {
		if config, err := clientcmd.BuildConfigFromFlags("", kubeconfig); err == nil {
			return s.access(config, token)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("%s ended: %s", strings.Join(s.command.Args, " "), s.Log())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %s", strings.Join(s.command.Args, " "), s.Log())
		}
	}
}

// run starts the program. A test that panics leaves no server behind: the
// kernel ends it with the thread that started it, which is kept for that.
func (s *Server) run() error {
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := s.command.Start()
		started <- err
		if err == nil {
			_ = s.command.Wait() // its end is seen, and its log says why
			close(s.ended)
		}
	}()
	return <-started
}

func (s *Server) access(config *rest.Config, token string) error {
	s.CAFile = filepath.Join(s.Dir, "ca.crt")
	s.Config = &rest.Config{
		Host: config.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: config.CAData},
		QPS: 1000, Burst: 10000,
	}
	if _, err := fmt.Sscanf(config.Host[strings.LastIndexByte(config.Host, ':')+1:], "%d", &s.Port); err != nil {
		return fmt.Errorf("port of %s: %w", config.Host, err)
	}
	return os.WriteFile(s.CAFile, config.CAData, 0o600)
}

// Log is the end of what the server has said.
func (s *Server) Log() string {
	raw, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	if i := len(raw) - 8<<10; i > 0 {
		raw = raw[i:]
		raw = raw[bytes.IndexByte(raw, '\n')+1:]
	}
	return string(raw)
}

// Stop ends the server and removes its directory.
func (s *Server) Stop() error {
	defer os.RemoveAll(s.Dir)
	if s.command == nil {
		return nil
	}
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.ended:
		return nil
	case <-time.After(stop):
		_ = s.command.Process.Kill()
		<-s.ended
		return fmt.Errorf("the server did not end within %s: %s", stop, s.Log())
	}
}
