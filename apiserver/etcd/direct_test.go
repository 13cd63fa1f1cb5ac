package etcd

import (
	"context"
	"reflect"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"
)

// What is asked directly is answered as the client's own methods answer, of
// which each has an object of its own.
func TestDirectAnswersAsTheClientDoes(t *testing.T) {
	s := openIn(t, t.TempDir())
	type answer struct {
		succeeded, ahead bool
		value            string
		err              error
	}
	at := map[string]int64{} // an object's last revision
	put := func(k kubernetes.Interface, key string, ctx context.Context, value string, expected int64, get bool) answer {
		r, err := k.OptimisticPut(ctx, key, []byte(value), expected, kubernetes.PutOptions{GetOnFailure: get})
		a := answer{succeeded: r.Succeeded, ahead: r.Revision > at[key], err: err}
		if r.KV != nil {
			a.value = string(r.KV.Value)
		}
		if r.Succeeded {
			at[key] = r.Revision
		}
		return a
	}
	del := func(k kubernetes.Interface, key string, ctx context.Context, expected int64, get bool) answer {
		r, err := k.OptimisticDelete(ctx, key, expected, kubernetes.DeleteOptions{GetOnFailure: get})
		a := answer{succeeded: r.Succeeded, ahead: r.Revision > at[key], err: err}
		if r.KV != nil {
			a.value = string(r.KV.Value)
		}
		return a
	}
	get := func(k kubernetes.Interface, key string, ctx context.Context, revision int64) answer {
		r, err := k.Get(ctx, key, kubernetes.GetOptions{Revision: revision})
		a := answer{ahead: r.Revision > at[key], err: err}
		if r.KV != nil {
			a.value = string(r.KV.Value)
		}
		return a
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ctx := t.Context()
	first := map[string]int64{}
	for _, c := range []struct {
		name string
		do   func(k kubernetes.Interface, key string) answer
		want answer
	}{
		{"what is not there", func(k kubernetes.Interface, key string) answer { return get(k, key, ctx, 0) }, answer{ahead: true}},
		{"create", func(k kubernetes.Interface, key string) answer { return put(k, key, ctx, "one", 0, false) }, answer{succeeded: true, ahead: true}},
		{"create again", func(k kubernetes.Interface, key string) answer { return put(k, key, ctx, "two", 0, true) }, answer{value: "one", ahead: true}},
		{"update an older one", func(k kubernetes.Interface, key string) answer { return put(k, key, ctx, "two", 1, false) }, answer{ahead: true}},
		{"update", func(k kubernetes.Interface, key string) answer {
			first[key] = at[key]
			return put(k, key, ctx, "two", at[key], true)
		}, answer{succeeded: true, ahead: true}},
		{"get as it was", func(k kubernetes.Interface, key string) answer { return get(k, key, ctx, first[key]) }, answer{value: "one", ahead: true}},
		{"get", func(k kubernetes.Interface, key string) answer { return get(k, key, ctx, 0) }, answer{value: "two", ahead: true}},
		{"delete an older one", func(k kubernetes.Interface, key string) answer { return del(k, key, ctx, first[key], true) }, answer{value: "two", ahead: true}},
		{"delete", func(k kubernetes.Interface, key string) answer { return del(k, key, ctx, at[key], true) }, answer{succeeded: true, ahead: true}},
		{"delete again", func(k kubernetes.Interface, key string) answer { return del(k, key, ctx, at[key], true) }, answer{ahead: true}},
		{"put for nobody, which may be done all the same", func(k kubernetes.Interface, key string) answer { return put(k, key, ended, "x", at[key], true) }, answer{err: context.Canceled}},
	} {
		for key, k := range map[string]kubernetes.Interface{"/client": s.Client, "/direct": s.Client.Kubernetes} {
			if _, err := s.Client.Put(ctx, "/other", c.name); err != nil { // so that every answer is of a later revision
				t.Fatal(err)
			}
			if got := c.do(k, key); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, %s: got %+v, want %+v", key, c.name, got, c.want)
			}
		}
	}
	if _, ok := s.Client.Kubernetes.(direct); !ok {
		t.Errorf("objects are reached by %T", s.Client.Kubernetes)
	}
}
