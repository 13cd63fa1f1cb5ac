package apiserver

import (
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/util/feature"
)

// chooseFeatures switches off what helps kube-apiserver and not a server that
// has etcd inside, for the whole process.
//
// ListFromCacheSnapshot keeps the tree of a resource's objects as it was at each
// version, so that the further pages of a list need not be read from etcd. It
// costs each write a copy of the tree's changed nodes, which are kept for some
// minutes, and each resource a timer. A page of 500 objects is read from the
// etcd in this process in a few milliseconds.
var chooseFeatures = sync.OnceValue(func() error {
	off := map[string]bool{string(features.ListFromCacheSnapshot): false}
	if err := feature.DefaultMutableFeatureGate.SetFromMap(off); err != nil {
		return fmt.Errorf("choose features: %w", err)
	}
	return nil
})
