// Package renewal lets those who stand by look at a Lease more often than its
// holder writes it: looking is cheap, and how often it is done decides how soon
// a dead leader is replaced; writing costs a sync of the disk each time.
//
// It writes Leases. Start at Lock.
package renewal
