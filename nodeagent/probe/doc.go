// Package probe asks running containers whether they have started, live and
// are ready: by a command, HTTP, TCP or gRPC.
//
// Reads the containers that [Prober.Start] is told of. Writes nothing: results
// are read by [Prober.State], and each change is told to Config.Changed.
package probe
