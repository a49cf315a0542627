package load

import (
	"syscall"
	"time"
)

// cpu is what this process has taken of the processors.
func cpu() time.Duration {
	process, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0
	}
	var created, ended, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(process, &created, &ended, &kernel, &user) != nil {
		return 0 // can't be: the arguments are right
	}
	return since(kernel) + since(user)
}

// since is a duration, which Windows counts in units of 100 ns.
func since(t syscall.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
