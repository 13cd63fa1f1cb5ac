// Package history keeps the states that a DaemonSet or StatefulSet once had as
// ControllerRevisions, one for each pod template, so that its pods can be told
// apart by revision and it can be rolled back.
//
// Reads and writes ControllerRevisions (create, delete, revision, owner
// reference). Start at [Keeper].
package history
