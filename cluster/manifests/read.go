package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Read gives the objects of files, and of the YAML and JSON files that stand
// directly in directories, sorted by name. What kustomize reads about files is
// no object and left out.
func Read(paths ...string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, path := range paths {
		files, err := filesOf(path)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read manifests: %w", err)
			}
			objs, err := Parse(raw)
			if err != nil {
				return nil, fmt.Errorf("read manifest %s: %w", file, err)
			}
			out = append(out, objs...)
		}
	}
	return out, nil
}

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) && !strings.HasPrefix(name, "kustomiz") {
			out = append(out, filepath.Join(path, name))
		}
	}
	return out, nil
}

// Parse gives the objects of YAML documents or JSON; lists are taken apart.
func Parse(raw []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var content map[string]any
		if err := yaml.Unmarshal(document, &content); err != nil {
			return nil, err
		}
		if len(content) == 0 {
			continue // comments only
		}
		o := &unstructured.Unstructured{Object: content}
		if o.GetAPIVersion() == "" || o.GetKind() == "" {
			return nil, errors.New("a document has no apiVersion or no kind")
		}
		if !o.IsList() {
			out = append(out, o)
			continue
		}
		err = o.EachListItem(func(item runtime.Object) error {
			out = append(out, item.(*unstructured.Unstructured))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
	}
}

// builtIn are kinds that objects in Go may have without saying so.
var builtIn = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // the same at every start
		}
	}
	return s
})

// FromObjects gives objects in Go the form that files have. Kinds are looked up
// in scheme, which may be nil, and among the built-in ones.
func FromObjects(scheme *runtime.Scheme, objs ...client.Object) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, obj := range objs {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			out = append(out, u.DeepCopy())
			continue
		}
		var err error
		gvk := obj.GetObjectKind().GroupVersionKind()
		if gvk.Empty() && scheme != nil {
			gvk, err = apiutil.GVKForObject(obj, scheme)
		}
		if gvk.Empty() || err != nil {
			gvk, err = apiutil.GVKForObject(obj, builtIn())
		}
		if err != nil {
			return nil, fmt.Errorf("kind of %T %s: %w", obj, client.ObjectKeyFromObject(obj), err)
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", gvk.Kind, client.ObjectKeyFromObject(obj), err)
		}
		// Go's zero values are not what is meant to be applied.
		delete(content, "status")
		u := &unstructured.Unstructured{Object: content}
		u.SetGroupVersionKind(gvk)
		out = append(out, u)
	}
	return out, nil
}
