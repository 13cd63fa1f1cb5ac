package apiserver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/skiffcluster/skiff/apiserver/admission"
)

// presence watches for the first object of a resource.
type presence struct {
	resource    schema.GroupResource
	known, some chan struct{}
}

// presenceOf is a resource's, which Run begins to watch.
func (s *Server) presenceOf(gr schema.GroupResource) admission.Presence {
	p := &presence{gr, make(chan struct{}), make(chan struct{})}
	s.presences = append(s.presences, p)
	return admission.Presence{Known: p.known, Some: p.some}
}

// watchPresence ends when there is an object, or with ctx. It reads storage
// without a client: most resources watched so stay empty for good.
func (s *Server) watchPresence(ctx context.Context, p *presence) {
	ctx = request.WithNamespace(ctx, metav1.NamespaceAll)
	known := false
	for ctx.Err() == nil {
		found, err := s.waitForAny(ctx, p.resource, func() {
			if !known {
				known = true
				close(p.known)
			}
		})
		if found {
			close(p.some)
			if !known {
				close(p.known)
			}
			return
		}
		if err != nil {
			// The watch cache is filling, or has lost its own watch.
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// waitForAny looks and then watches; empty is called when there is none yet.
func (s *Server) waitForAny(ctx context.Context, gr schema.GroupResource, empty func()) (bool, error) {
	store := s.storeOf(gr.Group, gr.Resource)
	list, err := store.List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return false, err
	}
	if meta.LenList(list) > 0 {
		return true, nil
	}
	empty()
	m, err := meta.ListAccessor(list)
	if err != nil {
		return false, err
	}
	w, err := store.Watch(ctx, &internalversion.ListOptions{ResourceVersion: m.GetResourceVersion()})
	if err != nil {
		return false, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Added || e.Type == watch.Modified {
			return true, nil
		}
	}
	return false, nil
}
