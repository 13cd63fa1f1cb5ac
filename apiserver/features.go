package apiserver

import (
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
)

// chooseFeatures switches off what helps kube-apiserver and not a server that
// has etcd inside, for the whole process.
//
// ListFromCacheSnapshot keeps the tree of a resource's objects as it was at each
// version, so that the further pages of a list need not be read from etcd. It
// costs each write a copy of the tree's changed nodes, which are kept for some
// minutes, and each resource a timer. A page of 500 objects is read from the
// etcd in this process in a few milliseconds.
//
// ConcurrentWatchObjectDecode decodes each event in a goroutine of its own, ten at
// a time, which helps where many objects are decrypted and there are processors
// to spare. It costs each resource a goroutine, and each event one and a channel.
var chooseFeatures = sync.OnceValue(func() error {
	// What --feature-gates says stays.
	for _, f := range []featuregate.Feature{features.ListFromCacheSnapshot, features.ConcurrentWatchObjectDecode} {
		if err := feature.DefaultMutableFeatureGate.OverrideDefault(f, false); err != nil {
			return fmt.Errorf("choose features: %w", err)
		}
	}
	return nil
})
