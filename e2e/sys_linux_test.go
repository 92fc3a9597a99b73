package e2e

import "syscall"

// diesWithParent ends the process when the tests are killed.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
