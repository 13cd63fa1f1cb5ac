// Package resourcequota counts what each ResourceQuota's namespace uses.
//
// The API server adds to status.used what it lets in, and refuses what does not
// fit; this controller counts what is there, so that what goes away becomes
// free. Both ask internal/quota what an object uses.
//
// It reads quotas and the kinds that they are about, of which it watches the
// metadata only where the number of objects is all that counts; it writes a
// quota's status. Start at reconciler.go; usage.go counts.
package resourcequota
