package event

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// PanicError is a panic that was stopped. Its reason holds no value of a user: what code panics
// with may be anything, so only the runtime's own words are kept, else the type.
type PanicError struct {
	Reason string
	Stack  string
}

// Error is the reason; the stack is for the log.
func (e *PanicError) Error() string { return "panic: " + e.Reason }

// Panicked makes an error of what recover has returned, in the function that is deferred.
func Panicked(value any) *PanicError {
	e := &PanicError{Reason: fmt.Sprintf("a value of type %T", value), Stack: string(debug.Stack())}
	if said, ok := value.(runtime.Error); ok {
		e.Reason = said.Error()
	}
	return e
}

// Safely returns the error of do; a panic in it is a PanicError. It is for goroutines in which
// nothing above would stop a panic from ending the process, and with it all requests.
func Safely(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Panicked(value)
		}
	}()
	return do()
}
