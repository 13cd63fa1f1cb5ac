package controllers_test

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// patience bounds every wait; a machine busy with other tests is slow.
const patience = 30 * time.Second

// start runs controllers, by their names, against an API server of their own.
func start(t *testing.T, names ...string) client.Client {
	t.Helper()
	api := clustertest.APIServer(t)
	run(t, controllers.Config{REST: api.RESTConfig(), Controllers: names})
	return api.Client()
}

// run runs the room until the test ends, or until the returned function.
func run(t *testing.T, cfg controllers.Config) (room *controllers.Controllers, stop func()) {
	t.Helper()
	room, err := controllers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- room.Run(ctx); close(done) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run controllers: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-room.Ready():
	case <-time.After(patience):
		t.Fatal("the controllers are not ready")
	}
	return room, stop
}

// eventually waits until check says no more what is missing.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", patience, missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
