// Command withkafka starts Apache Kafka, runs a command with the cluster's address in its environment, and ends both:
//
//	go run ./internal/testkafka/withkafka go test ./internal/feed/...
//
// The command gets DASHSTREAM_TEST_KAFKA_BROKERS and KAFKA_BROKERS. DASHSTREAM_TEST_KAFKA_JARS names the directory of the
// jars that scripts/kafka-jars.sh fetches. The exit code is the command's, or 125 when Kafka did not start.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/dashflow/dashstream/internal/testkafka/apache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv("DASHSTREAM_TEST_KAFKA_JARS"), os.Stdout, os.Stderr))
}

const (
	exitUsage   = 2
	exitNoKafka = 125
)

func run(ctx context.Context, args []string, jars string, stdout, stderr io.Writer) int {
	if len(args) == 0 || jars == "" {
		fmt.Fprintln(stderr, "usage: DASHSTREAM_TEST_KAFKA_JARS=DIR withkafka COMMAND [ARGUMENT...]\n"+
			"scripts/kafka-jars.sh prints DIR; scripts/test-kafka.sh does both")
		return exitUsage
	}
	began := time.Now()
	starting, cancel := context.WithTimeout(ctx, apache.StartTimeout)
	cluster, err := apache.Start(starting, apache.Options{Jars: jars})
	cancel()
	if err != nil {
		fmt.Fprintln(stderr, "withkafka: start Apache Kafka:", err)
		return exitNoKafka
	}
	brokers := strings.Join(cluster.Brokers(), ",")
	fmt.Fprintf(stderr, "withkafka: Apache Kafka serves on %s after %v\n", brokers, time.Since(began).Round(100*time.Millisecond))

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DASHSTREAM_TEST_KAFKA_BROKERS="+brokers, "KAFKA_BROKERS="+brokers)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	err = cmd.Run()
	code := 0
	if err != nil {
		fmt.Fprintf(stderr, "withkafka: %s: %v; Apache Kafka's logs are kept in %s\n", args[0], err, cluster.KeepLogs())
		code = 1
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			code = exit.ExitCode()
		}
	}
	if err := cluster.Close(); err != nil {
		fmt.Fprintln(stderr, "withkafka: end Apache Kafka:", err)
		code = max(code, 1)
	}
	return code
}
