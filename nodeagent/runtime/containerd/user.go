//go:build linux

package containerd

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// accounts are an image's /etc/passwd and /etc/group.
type accounts struct{ passwd, group []byte }

// planUser decides who the first process is: the security context goes before
// the image's user, names are looked up in the image, and groups of the pod
// are added to those the image gives the user.
func planUser(imageUser string, sc *corev1.SecurityContext, pod *corev1.PodSecurityContext, a accounts) (specs.User, error) {
	name := imageUser
	if sc != nil && sc.RunAsUser != nil {
		name = strconv.FormatInt(*sc.RunAsUser, 10)
	}
	if sc != nil && sc.RunAsGroup != nil {
		who, _, _ := strings.Cut(name, ":")
		name = who + ":" + strconv.FormatInt(*sc.RunAsGroup, 10)
	}
	found, err := user.GetExecUser(name, &user.ExecUser{}, bytes.NewReader(a.passwd), bytes.NewReader(a.group))
	if err != nil {
		return specs.User{}, fmt.Errorf("find user %q in image: %w", name, err)
	}
	out := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	groups := []uint32{out.GID}
	if pod == nil || ptr.Deref(pod.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge) == corev1.SupplementalGroupsPolicyMerge {
		for _, gid := range imageGroups(found.Uid, a) {
			groups = append(groups, uint32(gid))
		}
	}
	if pod != nil {
		for _, gid := range pod.SupplementalGroups {
			groups = append(groups, uint32(gid))
		}
		if pod.FSGroup != nil {
			groups = append(groups, uint32(*pod.FSGroup))
		}
	}
	slices.Sort(groups)
	out.AdditionalGids = slices.Compact(groups)
	return out, nil
}

// imageGroups gives the groups that the image's /etc/group lists the user in,
// also when a group was asked for by number.
func imageGroups(uid int, a accounts) []int {
	users, err := user.ParsePasswdFilter(bytes.NewReader(a.passwd), func(u user.User) bool { return u.Uid == uid })
	if err != nil || len(users) == 0 {
		return nil
	}
	groups, err := user.ParseGroupFilter(bytes.NewReader(a.group), func(g user.Group) bool { return slices.Contains(g.List, users[0].Name) })
	if err != nil {
		return nil
	}
	gids := make([]int, 0, len(groups))
	for _, g := range groups {
		gids = append(gids, g.Gid)
	}
	return gids
}
