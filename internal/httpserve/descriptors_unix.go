//go:build unix

package httpserve

import "syscall"

// DescriptorLimit returns how many files this process may have open; 0: no limit,
// or none that can be told.
func DescriptorLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	if n := uint64(l.Cur); n <= 1<<30 { //nolint:unconvert // it is signed on some systems
		return int(n)
	}
	return 0
}
