// Package trace keeps services on paper and tells what would become of a
// packet. It is the backend of simulated nodes and the judge in tests of the
// model: no kernel is involved. Start at Rules.Send.
package trace
