package command

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/manifests"
	"github.com/skiffcluster/skiff/internal/filewatch"
)

// definitions keeps a cluster's definitions as files have them, while somebody
// works on the files. One whose file is removed stays, with its objects.
type definitions struct {
	paths []string
	out   io.Writer

	applier *manifests.Applier
	live    dynamic.ResourceInterface
	applied map[string]*unstructured.Unstructured // as their files had them
	said    string                                // what was wrong last
}

func newDefinitions(paths []string, out io.Writer, config *restclient.Config) (*definitions, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for definitions: %w", err)
	}
	applier, err := manifests.NewApplier(config, cluster.FieldManager)
	if err != nil {
		return nil, err
	}
	d := &definitions{paths: paths, out: out, applier: applier, applied: map[string]*unstructured.Unstructured{}}
	d.live = client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	return d, nil
}

// follow applies what has changed until ctx ends. The cluster has begun with
// what the files say at first.
func (d *definitions) follow(ctx context.Context) {
	filewatch.Follow(ctx, d.paths, func(ctx context.Context) error {
		err := d.apply(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			d.said = ""
		case err.Error() != d.said: // once is enough
			d.said = err.Error()
			fmt.Fprintf(d.out, "The definition in force stays: %v\n", err)
		}
		return nil
	})
}

func (d *definitions) apply(ctx context.Context) error {
	all, err := manifests.Read(d.paths...)
	if err != nil {
		return err
	}
	for _, o := range changed(d.applied, all) {
		if err := d.write(ctx, o); err != nil {
			return err
		}
		d.applied[o.GetName()] = o
	}
	return nil
}

// changed are the definitions among objects that differ from those which were
// applied.
func changed(applied map[string]*unstructured.Unstructured, objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(objs, func(o *unstructured.Unstructured) bool {
		before := applied[o.GetName()]
		return o.GetKind() != "CustomResourceDefinition" || before != nil && reflect.DeepEqual(before.Object, o.Object)
	})
}

func (d *definitions) write(ctx context.Context, o *unstructured.Unstructured) error {
	before, err := d.live.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get definition %s: %w", o.GetName(), err)
	}
	o, did := o.DeepCopy(), "created"
	if err == nil {
		did = "configured"
		keepLocalConversion(o, before)
	}
	if err := d.applier.Apply(ctx, []*unstructured.Unstructured{o}); err != nil {
		return err
	}
	after, err := d.live.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get definition %s: %w", o.GetName(), err)
	}
	if before == nil || before.GetGeneration() != after.GetGeneration() {
		fmt.Fprintf(d.out, "customresourcedefinition.apiextensions.k8s.io/%s %s\n", o.GetName(), did)
	}
	return nil
}

// keepLocalConversion leaves a conversion alone that `skiff webhook local` has
// pointed at this machine: a file names the service in the cluster.
func keepLocalConversion(o, live *unstructured.Unstructured) {
	if url, _, _ := unstructured.NestedString(live.Object, "spec", "conversion", "webhook", "clientConfig", "url"); url != "" {
		unstructured.RemoveNestedField(o.Object, "spec", "conversion")
	}
}
