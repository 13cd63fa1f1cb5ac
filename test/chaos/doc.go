// Package chaos runs `skiff up --nodes 3 --masters 3`, reads and writes through
// its masters and keeps connections to a service with a pod on each worker while
// machines get into trouble, and checks that no acknowledged write was lost,
// that what clients saw is what one register for each key could have answered,
// and that no connection ended but those through the worker that was in trouble.
//
// It reads and writes ConfigMaps, a DaemonSet and a Service. It needs root:
// masters and workers are network namespaces. Start at TestChaos; `make chaos`
// runs it for a time and with a seed. BenchmarkFailover measures how soon another
// master acts.
package chaos
