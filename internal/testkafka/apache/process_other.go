//go:build !unix

package apache

import (
	"errors"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

func killGroup(int, syscall.Signal) error {
	return errors.New("process groups need a Unix system")
}
