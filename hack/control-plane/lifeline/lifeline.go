// Package lifeline ties a process to the one that started it.
//
// The starter keeps the writing end of a pipe open as this process's standard input and writes nothing. When the
// starter ends, by whatever signal, the kernel closes the pipe, and this process ends as well. It does not restart
// anything and does not try to end gracefully: whoever wants that sends SIGTERM while still alive.
package lifeline

import (
	"io"
	"os"
)

// Variable is the environment variable that turns the lifeline on when it is "1". Without it standard input is left
// alone, so that the programs can be started by hand or from a service file.
const Variable = "CONTROL_PLANE_STDIN_LIFELINE"

// Hold makes the process exit with status 3 once standard input is at its end.
func Hold() {
	if os.Getenv(Variable) != "1" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
}
