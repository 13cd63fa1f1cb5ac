// Package conntrack removes the kernel's memory of UDP flows and SCTP
// associations that go to servers which are gone. A TCP connection to such a
// server ends; a UDP flow would go on being sent there as long as its client
// keeps sending, and so would new SCTP associations from the same port.
//
// It reads model.Service values before and after a change and writes (deletes)
// conntrack entries. Start at Cleaner.
package conntrack
