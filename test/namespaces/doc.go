// Package namespaces gives a test binary a machine of its own: namespaces whose end
// is the end of all that the tests have started. The binary runs three
// processes deep, each told by its environment which one it is:
//
//	Outside: makes the namespaces, waits, and removes the files
//	└─ Reap: the first process inside, whose children those become that lose their parent
//	   └─ the tests
//
// It reads and writes the kernel's mounts and links of these namespaces only.
// Start at [Outside].
package namespaces
