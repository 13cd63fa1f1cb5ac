package namespace

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"
)

const (
	// finalizerEstimate is how many seconds a finalizer is thought to need.
	finalizerEstimate = 15
	// pageSize bounds the objects in memory while what is left is counted.
	pageSize = 500
	// parallel is how many kinds are emptied at a time: most hold nothing, so a
	// namespace costs some sixty short requests.
	parallel = 8
)

var podResource = corev1.SchemeGroupVersion.WithResource("pods")

// resource is a kind of content, and what can be done with it.
type resource struct {
	gvr                   schema.GroupVersionResource
	canList, canDeleteAll bool
}

// planResources returns the kinds that may hold content and can be deleted.
func planResources(lists []*metav1.APIResourceList) ([]resource, []error) {
	var resources []resource
	var errs []error
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, each := range list.APIResources {
			if !each.Namespaced || !slices.Contains(each.Verbs, "delete") {
				continue
			}
			resources = append(resources, resource{
				gvr:          gv.WithResource(each.Name),
				canList:      slices.Contains(each.Verbs, "list"),
				canDeleteAll: slices.Contains(each.Verbs, "deletecollection"),
			})
		}
	}
	return resources, errs
}

// empty deletes all content of these kinds and adds what it finds to f.
func empty(ctx context.Context, client metadata.Interface, namespace string, resources []resource, f *findings) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, each := range resources {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			left, finalizers, err := emptyOne(ctx, client.Resource(each.gvr).Namespace(namespace), each)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.contentErrs = append(f.contentErrs, err)
			}
			if left > 0 {
				f.remaining[each.gvr] = left
			}
			for name, count := range finalizers {
				f.finalizers[name] += count
				f.estimate = max(f.estimate, finalizerEstimate)
			}
			if err == nil && left > 0 && len(finalizers) == 0 && each.gvr != podResource {
				// Nobody is known to work on these; pods have their agent.
				f.contentErrs = append(f.contentErrs, fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", namespace, each.gvr))
			}
		}()
	}
	wg.Wait()
}

// emptyOne deletes all objects of one kind and counts those that are left and
// what they wait for.
func emptyOne(ctx context.Context, client metadata.ResourceInterface, kind resource) (left int, finalizers map[string]int, err error) {
	if kind.canList {
		first, err := client.List(ctx, metav1.ListOptions{Limit: 1})
		if isUnserved(err) {
			return 0, nil, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("list %s: %w", kind.gvr.GroupResource(), err)
		}
		if len(first.Items) == 0 {
			return 0, nil, nil
		}
	}
	// Content needs no help from the garbage collector: it all goes.
	background := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	switch {
	case kind.canDeleteAll:
		err := client.DeleteCollection(ctx, background, metav1.ListOptions{})
		if err != nil && !isUnserved(err) {
			return 0, nil, fmt.Errorf("delete all %s: %w", kind.gvr.GroupResource(), err)
		}
	case kind.canList:
		err := eachObject(ctx, client, func(object *metav1.PartialObjectMetadata) error {
			return ignoreGone(client.Delete(ctx, object.Name, background))
		})
		if err != nil {
			return 0, nil, fmt.Errorf("delete %s: %w", kind.gvr.GroupResource(), err)
		}
	}
	if !kind.canList {
		return 0, nil, nil
	}
	finalizers = map[string]int{}
	err = eachObject(ctx, client, func(object *metav1.PartialObjectMetadata) error {
		left++
		for _, name := range object.Finalizers {
			finalizers[name]++
		}
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("list %s: %w", kind.gvr.GroupResource(), err)
	}
	return left, finalizers, nil
}

// eachObject calls f with all objects, page by page.
func eachObject(ctx context.Context, client metadata.ResourceInterface, f func(*metav1.PartialObjectMetadata) error) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := client.List(ctx, options)
		if err != nil {
			if isUnserved(err) {
				return nil
			}
			return err
		}
		for i := range page.Items {
			if err := f(&page.Items[i]); err != nil {
				return err
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return nil
		}
	}
}

// isUnserved tells that the server has no such kind (any more): a definition
// that was deleted since discovery.
func isUnserved(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err)
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// stopEstimate is how many seconds running pods may still take to stop.
func stopEstimate(pods []corev1.Pod, elapsed int64) int64 {
	var longest int64
	for i := range pods {
		pod := &pods[i]
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		grace := pod.DeletionGracePeriodSeconds
		if grace == nil {
			grace = pod.Spec.TerminationGracePeriodSeconds
		}
		longest = max(longest, ptr.Deref(grace, 0))
	}
	// At least a second while there are pods at all, so that somebody looks again.
	if len(pods) > 0 {
		return max(longest-elapsed, 1)
	}
	return 0
}
