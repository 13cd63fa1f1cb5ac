package allocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Store keeps what the pods of one node were allocated.
type Store struct {
	dir string // empty: in memory only

	mu   sync.Mutex
	pods map[types.UID]Resources
}

// Open reads what is in a directory, which it makes. Without one, nothing outlives
// the process.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, pods: map[types.UID]Resources{}}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of allocated resources: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list allocated resources: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var r Resources
		data, err := os.ReadFile(path)
		if err == nil && !strings.HasSuffix(path, unfinished) {
			err = json.Unmarshal(data, &r)
		}
		if err != nil || strings.HasSuffix(path, unfinished) {
			// Cut off by a crash of the machine: its pods start anew, with what
			// their specs ask for.
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove broken record of allocated resources: %w", err)
			}
			continue
		}
		s.pods[types.UID(e.Name())] = r
	}
	return s, nil
}

// unfinished ends the names of files that are being written.
const unfinished = ".tmp"

// Allocate gives a pod what its spec asks for.
func (s *Store) Allocate(pod *corev1.Pod) error {
	if !matters(pod) {
		return nil
	}
	r := of(pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		data, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode allocated resources: %w", err)
		}
		path := filepath.Join(s.dir, string(pod.UID))
		if err := os.WriteFile(path+unfinished, data, 0o600); err != nil {
			return fmt.Errorf("save allocated resources: %w", err)
		}
		if err := os.Rename(path+unfinished, path); err != nil {
			return fmt.Errorf("save allocated resources: %w", err)
		}
	}
	s.pods[pod.UID] = r
	return nil
}

// Has says whether a pod was allocated resources.
func (s *Store) Has(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.pods[uid]
	return ok
}

// Apply gives a pod as it was allocated, and whether its spec asks for something
// else. The pod itself is not changed.
func (s *Store) Apply(pod *corev1.Pod) (*corev1.Pod, bool) {
	s.mu.Lock()
	r, ok := s.pods[pod.UID]
	s.mu.Unlock()
	if !ok {
		return pod, false
	}
	return r.apply(pod)
}

// Release forgets a pod that is gone.
func (s *Store) Release(uid types.UID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pods[uid]; !ok {
		return nil
	}
	delete(s.pods, uid)
	if s.dir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, string(uid))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove allocated resources: %w", err)
	}
	return nil
}

// Pods are those that were allocated resources.
func (s *Store) Pods() []types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]types.UID, 0, len(s.pods))
	for uid := range s.pods {
		out = append(out, uid)
	}
	return out
}
