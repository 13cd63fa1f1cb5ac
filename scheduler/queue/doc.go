// Package queue orders the pods that wait for a node.
//
//	Add ─▶ active ─▶ Pop ─▶ (a cycle) ─▶ bound
//	          ▲                 │ fits nowhere          │ an error
//	          │                 ▼                       ▼
//	       backoff ◀─ event ─ unschedulable          backoff
//	          (1 s, 2 s, 4 s, 8 s, 10 s)
//
// The active pods are taken by priority, then by time. A pod that fits nowhere
// waits in the unschedulable set until something happens that may make it fit:
// the rules that rejected it say which events those are. It then serves the
// rest of its backoff time; when nothing else is to be done, it is tried at
// once. After five minutes it is tried in any case. Pods with scheduling gates
// wait apart until the gates are gone.
//
// Reads and writes nothing outside memory. Start at queue.go.
package queue
