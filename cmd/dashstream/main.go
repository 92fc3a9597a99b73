// Command dashstream carries what AI agents do, live, through Kafka to the people who need to see it.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/dashflow/dashstream/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Whoever sends a second signal does not want to wait for an orderly end: the default action kills.
	context.AfterFunc(ctx, stop)
	var names []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	os.Exit(cli.Program{
		Args: os.Args[1:], Env: os.LookupEnv, EnvNames: names,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Hangup: hangup,
	}.Run(ctx))
}

// hangup tells of SIGHUP from now on, unless whoever started the process had it ignored.
func hangup() <-chan os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}
