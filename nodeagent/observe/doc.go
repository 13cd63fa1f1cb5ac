// Package observe tells what is known of a node's pods: containers from the
// runtime, answers of their probes, and the messages they left behind.
//
// Reads the runtime and termination logs. Writes nothing; it starts and stops
// probes with the containers that it sees. Start at Observer.
package observe
