// Package chaos runs three masters as processes of their own, reads and writes
// through them while they are killed, cut off and robbed of their disks, and
// checks that no acknowledged write was lost: that what clients saw is what one
// register for each key could have answered.
//
// It reads and writes ConfigMaps. Start at TestChaos; `make chaos` runs it for
// a time and with a seed.
package chaos
