package volume

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Teardown removes all volumes of a pod and its directory. It never deletes
// through a mount: what is mounted below is unmounted first, and a directory on
// which something is still mounted is an error. Tearing down what is not there
// is no error; neither is tearing down again after an error.
func (v *Volumes) Teardown(uid types.UID) error {
	if uid == "" {
		// The directory of all pods must not be taken for one pod's.
		return errors.New("tear down the volumes of a pod: it has no UID")
	}
	p := v.state(uid)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	v.cfg.Objects.Unregister(uid)
	v.tokens.forget(uid)
	if v.certificates != nil {
		v.certificates.Forget(uid)
	}
	v.plan(uid, time.Time{})
	if err := unmountBelow(v.PodDir(uid)); err != nil {
		return fmt.Errorf("tear down the volumes of pod %s: %w", uid, err)
	}
	if err := removeTree(v.PodDir(uid)); err != nil {
		return fmt.Errorf("tear down the volumes of pod %s: %w", uid, err)
	}
	v.mu.Lock()
	delete(v.pods, uid)
	v.mu.Unlock()
	return nil
}
