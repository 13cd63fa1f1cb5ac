package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/skiffcluster/skiff/cluster/webhooks"
)

// handsOver has the example operator's instance on this machine and the one
// that is deployed take over from each other, as somebody who develops it does.
// Who answers the webhooks shows in the image that a site gets.
func handsOver(t *testing.T, c *cluster, k *kubectl, dir, bin string) {
	t.Helper()
	reserved, err := webhooks.Reserve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reserved.Release)
	port := fmt.Sprintf("WEBHOOK_PORT=%d", reserved.Port)
	leads := func(deployed bool) func() (bool, string) {
		return func() (bool, string) {
			holder := k.run(t, "get", "lease", "website.example.com", "-n", "website-system", "-o", "jsonpath={.spec.holderIdentity}")
			return holder != "" && strings.HasPrefix(holder, "website-manager-") == deployed, holder
		}
	}
	create := func(name, image string) {
		t.Helper()
		site := write(t, "apiVersion: web.example.com/v1\nkind: Website\nmetadata: {name: "+name+"}\nspec: {greeting: Hello}\n")
		eventually(t, "the right webhook answers for "+name, func() (bool, string) {
			got, err := k.try("create", "-f", site, "--dry-run=server", "-o", "jsonpath={.spec.image}")
			return err == nil && got == image, got
		})
		k.run(t, "create", "-f", site)
	}

	runMake(t, c, dir, bin, port, "install")
	local := spawn(t, makeIn(c, dir, bin, port, "run", "FLAGS=--health-probe-bind-address=0 --default-image="+helloV2))
	t.Cleanup(func() {
		_ = syscall.Kill(-local.cmd.Process.Pid, syscall.SIGKILL) // most often it has ended
		<-local.ended
		if t.Failed() {
			t.Logf("the manager on this machine said:\n%s", local.out)
		}
	})
	create("beside", helloV2)
	if ok, holder := leads(true)(); !ok {
		t.Errorf("beside the one that is deployed: %s leads", holder)
	}
	k.run(t, "scale", "deployment/website-manager", "-n", "website-system", "--replicas=0")
	eventually(t, "the one on this machine leads", leads(false))
	create("without", helloV2)
	k.run(t, "wait", "site/without", "--for=condition=Available", "--timeout=90s")

	runMake(t, c, dir, bin, "deploy")
	create("again", helloV1)
	if ok, holder := leads(false)(); !ok {
		t.Errorf("beside the one on this machine: %s leads", holder)
	}
	if err := syscall.Kill(-local.cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the one on this machine ends", func() (bool, string) {
		select {
		case <-local.ended:
			return true, ""
		default:
			return false, local.out.String()
		}
	})
	eventually(t, "the one that is deployed leads", leads(true))
	create("after", helloV1)
	k.run(t, "wait", "site/after", "--for=condition=Available", "--timeout=90s")
}
