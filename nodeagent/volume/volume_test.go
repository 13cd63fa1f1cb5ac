//go:build linux

package volume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/volume"
)

func ptr[T any](v T) *T { return &v }

// store is a volume.Objects in memory.
type store struct {
	mu      sync.Mutex
	objects map[string]metav1.Object
	pods    map[types.UID]bool
	ready   chan struct{}
}

func newStore() *store {
	return &store{objects: map[string]metav1.Object{}, pods: map[types.UID]bool{}, ready: make(chan struct{}, 1)}
}

func (s *store) set(o metav1.Object) {
	s.mu.Lock()
	s.objects[fmt.Sprintf("%T %s", o, o.GetName())] = o
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *store) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.objects["*v1.ConfigMap "+name].(*corev1.ConfigMap); ok {
		return m, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (s *store) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects["*v1.Secret "+name].(*corev1.Secret); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func (s *store) Register(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods[pod.UID] = true
}

func (s *store) Unregister(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, uid)
}
func (s *store) Changed() <-chan struct{} { return s.ready }
func (s *store) TakeChanged() []types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uids []types.UID
	for uid := range s.pods {
		uids = append(uids, uid)
	}
	return uids
}

func newVolumes(t *testing.T, s *store) *volume.Volumes {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	v, err := volume.New(volume.Config{
		DataDir: t.TempDir(), Objects: s,
		Input: func(*corev1.Pod) environment.Input { return environment.Input{PodIPs: []string{"10.1.0.4"}} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		uids, err := v.Pods()
		if err != nil {
			t.Error(err)
		}
		for _, uid := range uids {
			if err := v.Teardown(uid); err != nil {
				t.Error(err)
			}
		}
	})
	return v
}

// podWith has one container that mounts all of the volumes at /<name>.
func podWith(volumes ...corev1.Volume) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid-1", Labels: map[string]string{"app": "web"}}}
	c := corev1.Container{Name: "c"}
	for _, v := range volumes {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	pod.Spec.Volumes, pod.Spec.Containers = volumes, []corev1.Container{c}
	return pod
}

func contentOf(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if strings.HasPrefix(name, "..") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // A name that is about to be removed.
		}
		if err != nil {
			return err
		}
		if info.IsDir() && d.Type()&os.ModeSymlink != 0 {
			entries, err := os.ReadDir(path)
			if err != nil {
				return err
			}
			for _, e := range entries {
				data, err := os.ReadFile(filepath.Join(path, e.Name()))
				if err != nil {
					return err
				}
				all = append(all, fmt.Sprintf("%s/%s=%s", name, e.Name(), data))
			}
			return nil
		}
		if info.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all = append(all, fmt.Sprintf("%s=%s %o:%d", name, data, info.Mode().Perm(), st.Gid))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestContent(t *testing.T) {
	s := newStore()
	s.set(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {'x'}}})
	s.set(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, Data: map[string][]byte{"token": []byte("t0p")}})
	conf := corev1.LocalObjectReference{Name: "conf"}
	tests := []struct {
		name   string
		source corev1.VolumeSource
		group  *int64
		want   string
		err    string
	}{
		{name: "all keys of a ConfigMap", source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: conf}}, want: "a=1 644:0 b=2 644:0 bin=x 644:0"},
		{
			name: "items with paths and modes",
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: conf, DefaultMode: ptr(int32(0o400)), Items: []corev1.KeyToPath{
				{Key: "a", Path: "sub/x"}, {Key: "b", Path: "y", Mode: ptr(int32(0o751))},
			}}},
			want: "sub/x=1 y=2 751:0",
		},
		{name: "a missing ConfigMap", source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "y"}}}, err: `MountVolume.SetUp failed for volume "v" : configmap "y" not found`},
		{name: "a missing Secret", source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "y"}}, err: `MountVolume.SetUp failed for volume "v" : secret "y" not found`},
		{name: "an optional missing Secret", source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "y", Optional: ptr(true)}}, want: ""},
		{
			name:   "a missing key",
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: conf, Items: []corev1.KeyToPath{{Key: "z", Path: "z"}}}},
			err:    `MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: z`,
		},
		{
			name:   "a path out of the volume",
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: conf, Items: []corev1.KeyToPath{{Key: "a", Path: "x/../../y"}}}},
			err:    `MountVolume.SetUp failed for volume "v" : invalid path: must not contain '..'`,
		},
		{name: "a Secret belongs to the pod's group", source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "keys", DefaultMode: ptr(int32(0o400))}}, group: ptr(int64(2000)), want: "token=t0p 440:2000"},
		{
			name: "the downward API",
			source: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "ip", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}},
				{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "requests.cpu"}},
			}}},
			want: `cpu=0 644:0 ip=10.1.0.4 644:0 labels=app="web" 644:0`,
		},
		{
			name: "a projection of several",
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: conf, Items: []corev1.KeyToPath{{Key: "a", Path: "both"}}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Items: []corev1.KeyToPath{{Key: "token", Path: "both"}}}},
			}}},
			want: "both=t0p 644:0",
		},
		{
			name: "all that fails in a projection is told",
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "y"}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "z"}}},
			}}},
			err: `MountVolume.SetUp failed for volume "v" : [configmap "y" not found, secret "z" not found]`,
		},
		{name: "a kind of volume that is not known", source: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}, err: `MountVolume.SetUp failed for volume "v" : no volume plugin matched`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVolumes(t, s)
			pod := podWith(corev1.Volume{Name: "v", VolumeSource: tt.source})
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: tt.group}
			err := v.Prepare(t.Context(), pod)
			if tt.err != "" {
				failures := volume.Failures(err)
				if len(failures) != 1 || failures[0].Message != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			mounts, err := v.Mounts(t.Context(), pod, &pod.Spec.Containers[0], nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(mounts) != 1 || mounts[0].Target != "/v" || !mounts[0].ReadOnly {
				t.Fatalf("mounts %+v", mounts)
			}
			if got := contentOf(t, mounts[0].Source); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestFilesFollowTheirObject(t *testing.T) {
	s := newStore()
	v := newVolumes(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()

	configMap := func(data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: data}
	}
	s.set(configMap(map[string]string{"a": "1", "b": "2"}))
	pod := podWith(
		corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
		corev1.Volume{Name: "me", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "app", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}},
		}}}},
	)
	if err := v.Prepare(ctx, pod); err != nil {
		t.Fatal(err)
	}
	dir, err := v.Path(ctx, pod, "v")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	s.set(configMap(map[string]string{"a": "9", "c": "3"}))
	eventually(t, "the files change", func() bool { return contentOf(t, dir) == "a=9 644:0 c=3 644:0" })
	eventually(t, "the old state is removed", func() bool {
		_, err := os.Stat(filepath.Join(dir, before))
		return errors.Is(err, os.ErrNotExist)
	})

	changed := pod.DeepCopy()
	changed.Labels["app"] = "shop"
	v.Update(ctx, changed)
	me, err := v.Path(ctx, pod, "me")
	if err != nil {
		t.Fatal(err)
	}
	if got := contentOf(t, me); got != "app=shop 644:0" {
		t.Errorf("downward API has %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEmptyDirsAreFoundAgainAfterARestart(t *testing.T) {
	s := newStore()
	first := newVolumes(t, s)
	pod := podWith(
		corev1.Volume{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("1Mi")),
		}}},
	)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(2000))}
	if err := first.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk", "mem"} {
		dir, err := first.Path(t.Context(), pod, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x"), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mem, _ := first.Path(t.Context(), pod, "mem")
	var fs unix.Statfs_t
	if err := unix.Statfs(mem, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || fs.Blocks*uint64(fs.Bsize) != 1<<20 {
		t.Errorf("memory: %+v (%v)", fs, err)
	}
	info, err := os.Stat(mem)
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != os.ModeDir|os.ModeSetgid|os.ModeSticky|0o777 || gid != 2000 {
		t.Errorf("mode %v of group %d", info.Mode(), gid)
	}
	// What is made for a subPath is as the volume is.
	for name, want := range map[string]os.FileMode{"disk": os.ModeDir | os.ModeSetgid | 0o777, "mem": os.ModeDir | os.ModeSetgid | os.ModeSticky | 0o777} {
		part := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: name, MountPath: "/m", SubPath: "a/b"}}}
		mounts, err := first.Mounts(t.Context(), pod, part, nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(mounts[0].Source)
		if err != nil {
			t.Fatal(err)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != want || gid != 2000 {
			t.Errorf("subPath of %s: mode %v of group %d, want %v", name, info.Mode(), gid, want)
		}
	}

	dataDir := filepath.Dir(filepath.Dir(first.PodDir(pod.UID)))
	second, err := volume.New(volume.Config{DataDir: dataDir, Objects: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk", "mem"} {
		dir, _ := second.Path(t.Context(), pod, name)
		if data, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(data) != "kept" {
			t.Errorf("%s: %q (%v)", name, data, err)
		}
	}
	if err := second.Teardown(pod.UID); err != nil {
		t.Fatal(err)
	}
	if uids, err := second.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("left over: %v (%v)", uids, err)
	}
}

func TestTeardownNeverDeletesThroughAMount(t *testing.T) {
	v := newVolumes(t, newStore())
	precious := t.TempDir()
	file := filepath.Join(precious, "data")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if err := v.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := v.Path(t.Context(), pod, "v")
	inside := filepath.Join(dir, "deep", "mnt")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, inside, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	// Somebody works there, so that it can't be unmounted.
	busy, err := os.Open(filepath.Join(inside, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Teardown(pod.UID); err == nil || !strings.Contains(err.Error(), "unmount") {
		t.Errorf("busy: %v", err)
	}
	busy.Close()
	if err := v.Teardown(pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
	if _, err := os.Stat(v.PodDir(pod.UID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pod's directory: %v", err)
	}
	if err := v.Teardown(pod.UID); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := v.Teardown(""); err == nil {
		t.Error("a pod without UID is torn down")
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		kind corev1.HostPathType
		path string
		err  string
	}{
		{corev1.HostPathDirectory, dir, ""},
		{corev1.HostPathDirectory, file, "is not a directory"},
		{corev1.HostPathDirectory, dir + "/none", "is not a directory"},
		{corev1.HostPathDirectoryOrCreate, dir + "/made", ""},
		{corev1.HostPathDirectoryOrCreate, file, "is not a directory"},
		{corev1.HostPathFile, file, ""},
		{corev1.HostPathFile, dir, "is not a file"},
		{corev1.HostPathFileOrCreate, dir + "/new", ""},
		{corev1.HostPathSocket, file, "is not a socket file"},
		{corev1.HostPathCharDev, "/dev/null", ""},
		{corev1.HostPathCharDev, file, "is not a character device"},
		{corev1.HostPathBlockDev, "/dev/null", "is not a block device"},
		{corev1.HostPathUnset, dir + "/later", ""},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind)+" "+filepath.Base(tt.path), func(t *testing.T) {
			v := newVolumes(t, newStore())
			pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: tt.path, Type: &tt.kind}}})
			err := v.Prepare(t.Context(), pod)
			if tt.err != "" {
				want := fmt.Sprintf("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: %s %s", tt.path, tt.err)
				if f := volume.Failures(err); len(f) != 1 || f[0].Message != want {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			mounts, err := v.Mounts(t.Context(), pod, &pod.Spec.Containers[0], nil)
			if err != nil || mounts[0].Source != tt.path || mounts[0].ReadOnly {
				t.Errorf("mounts %+v (%v)", mounts, err)
			}
			if _, err := os.Stat(tt.path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSubPath(t *testing.T) {
	v := newVolumes(t, newStore())
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if err := v.Prepare(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := v.Path(t.Context(), pod, "v")
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "file"), []byte("f"), 0o600),
		os.Symlink("/etc", filepath.Join(dir, "out")),
		os.Symlink("../..", filepath.Join(dir, "up")),
		os.Symlink("file", filepath.Join(dir, "in")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		mount corev1.VolumeMount
		err   string
		file  bool
	}{
		{name: "a new directory", mount: corev1.VolumeMount{SubPath: "a/b"}},
		{name: "an expression", mount: corev1.VolumeMount{SubPathExpr: "logs/$(POD)"}},
		{name: "a file", mount: corev1.VolumeMount{SubPath: "file"}, file: true},
		{name: "a link inside", mount: corev1.VolumeMount{SubPath: "in"}, file: true},
		{name: "a link out of the volume", mount: corev1.VolumeMount{SubPath: "out/ssl"}, err: "not within volume path"},
		{name: "a link above the volume", mount: corev1.VolumeMount{SubPath: "up"}, err: "not within volume path"},
		{name: "a new directory behind a link out", mount: corev1.VolumeMount{SubPath: "out/never-made"}, err: "not within volume path"},
		{name: "two dots", mount: corev1.VolumeMount{SubPath: "a/../b"}, err: "unable to provision SubPath `a/../b`: must not contain '..'"},
		{name: "two dots of an expression", mount: corev1.VolumeMount{SubPathExpr: "$(UP)"}, err: "unable to provision SubPath `../x`: must not contain '..'"},
		{name: "an absolute path", mount: corev1.VolumeMount{SubPath: "/a"}, err: "error SubPath `/a` must not be an absolute path"},
		{name: "a variable that is not there", mount: corev1.VolumeMount{SubPathExpr: "$(NONE)"}, err: `missing value for "NONE"`},
	}
	env := []string{"POD=p", "UP=../x"}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.mount.Name, tt.mount.MountPath = "v", "/m"
			c := &corev1.Container{Name: fmt.Sprintf("c%d", i), VolumeMounts: []corev1.VolumeMount{tt.mount}}
			for range 2 { // also for the next container of this name
				mounts, err := v.Mounts(t.Context(), pod, c, env)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("error %v, want %q", err, tt.err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				info, err := os.Stat(mounts[0].Source)
				if err != nil || info.IsDir() == tt.file {
					t.Fatalf("%v (%v)", info, err)
				}
				if !tt.file {
					if err := os.WriteFile(filepath.Join(mounts[0].Source, "seen"), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	if _, err := os.Stat("/etc/never-made"); err == nil {
		t.Error("a directory was made outside")
	}
	for _, path := range []string{"a/b/seen", "logs/p/seen"} {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Errorf("what was written is not in the volume: %v", err)
		}
	}
	// The volume may be exchanged behind the mount: the next one sees it.
	c := &corev1.Container{Name: "c0", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: "a/b"}}}
	if err := os.Rename(filepath.Join(dir, "a", "b"), filepath.Join(dir, "a", "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Mounts(t.Context(), pod, c, env); err == nil || !strings.Contains(err.Error(), "not within volume path") {
		t.Errorf("exchanged for a link: %v", err)
	}
}
