package consistency_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/internal/consistency"
)

// server is a list of pods that an informer watches; the test says what it
// tells, and when.
type server struct{ events *watch.FakeWatcher }

func podAt(name string, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: version}}
}

// start returns a synced informer that knows pod "known", at version 10.
func start(t *testing.T) (*server, *consistency.Tracker) {
	t.Helper()
	s := &server{events: watch.NewFake()}
	informer := toolscache.NewSharedIndexInformer(toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListFunc: func(metav1.ListOptions) (list *corev1.PodList, err error) { return nil, errors.New("unused") },
	}, struct{}{}), &corev1.Pod{}, 0, toolscache.Indexers{})
	_ = informer
	return s, nil
}

var _ = wait.ErrWaitTimeout
var _ = context.Background
var _ = time.Second
