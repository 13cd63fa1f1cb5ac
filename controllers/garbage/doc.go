// Package garbage deletes objects whose owners are gone, and carries out what a
// deletion asked for its dependents: delete them afterwards (background), first
// (foreground), or leave them as orphans.
//
// It reads discovery and the metadata of every object of every kind that can be
// deleted, those of definitions that come and go included; only who owns whom is
// kept. It writes (deletes) objects, metadata.ownerReferences of orphans and of
// objects that keep another owner, and removes the finalizers foregroundDeletion
// and orphan.
//
// What another controller watches anyway is taken from its informer.
//
//	discovery ─▶ monitors: one watch for each kind ─▶ graph ─▶ queue ─▶ collector
//	                                                    ▲                   │
//	                                                    └─── API server ◀───┘
//
// Nothing is deleted on the graph's word alone: an owner that it does not show
// is asked for at the API server, and a deletion names the object's UID and the
// resourceVersion that the decision was made on. Start at graph.go (what follows
// from an event), plan.go (what to do with one object), then collector.go.
package garbage
