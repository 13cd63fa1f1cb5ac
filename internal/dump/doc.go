// Package dump lists what the kernel has, by netlink, whole: a list under which
// something changes is read again. It reads what it is given to list, and writes
// nothing. Start at Whole.
package dump
