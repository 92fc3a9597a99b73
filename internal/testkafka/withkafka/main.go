// Command withkafka starts a Kafka cluster, runs a command with the cluster's address in its environment, and ends both:
//
//	go run ./internal/testkafka/withkafka go test ./internal/feed/...
//	go run ./internal/testkafka/withkafka -backend embedded scripts/interop.sh
//
// The command gets KAFKA_BROKERS, and with Apache Kafka, the default backend, DASHSTREAM_TEST_KAFKA_BROKERS too. For that
// backend DASHSTREAM_TEST_KAFKA_JARS names the directory of the jars that scripts/kafka-jars.sh fetches. The exit code is
// the command's, or 125 when Kafka did not start.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/dashflow/dashstream/internal/embedded"
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

// cluster is a running backend. keep makes its log files outlive it and says where they are; it is nil where there are none.
type cluster struct {
	brokers []string
	keep    func() string
	close   func() error
}

func run(ctx context.Context, args []string, jars string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("withkafka", flag.ContinueOnError)
	flags.SetOutput(stderr)
	backend := flags.String("backend", "apache", "apache or embedded")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: withkafka [-backend apache|embedded] COMMAND [ARGUMENT...]\n"+
			"Apache Kafka needs DASHSTREAM_TEST_KAFKA_JARS, which scripts/kafka-jars.sh prints; scripts/test-kafka.sh sets it")
	}
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	args = flags.Args()
	if len(args) == 0 || *backend == "apache" && jars == "" || *backend != "apache" && *backend != "embedded" {
		flags.Usage()
		return exitUsage
	}
	began := time.Now()
	start := startEmbedded
	if *backend == "apache" {
		start = func(ctx context.Context) (cluster, error) { return startApache(ctx, jars) }
	}
	starting, cancel := context.WithTimeout(ctx, apache.StartTimeout)
	c, err := start(starting)
	cancel()
	if err != nil {
		fmt.Fprintf(stderr, "withkafka: start the %s broker: %v\n", *backend, err)
		return exitNoKafka
	}
	brokers := strings.Join(c.brokers, ",")
	fmt.Fprintf(stderr, "withkafka: the %s broker serves on %s after %v\n", *backend, brokers, time.Since(began).Round(time.Millisecond))

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+brokers)
	if *backend == "apache" {
		cmd.Env = append(cmd.Env, "DASHSTREAM_TEST_KAFKA_BROKERS="+brokers)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	err = cmd.Run()
	code := 0
	if err != nil {
		fmt.Fprintf(stderr, "withkafka: %s: %v\n", args[0], err)
		if c.keep != nil {
			fmt.Fprintf(stderr, "withkafka: the broker's logs are kept in %s\n", c.keep())
		}
		code = 1
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			code = exit.ExitCode()
		}
	}
	if err := c.close(); err != nil {
		fmt.Fprintf(stderr, "withkafka: end the %s broker: %v\n", *backend, err)
		code = max(code, 1)
	}
	return code
}

func startApache(ctx context.Context, jars string) (cluster, error) {
	c, err := apache.Start(ctx, apache.Options{Jars: jars})
	if err != nil {
		return cluster{}, err
	}
	return cluster{brokers: c.Brokers(), keep: c.KeepLogs, close: c.Close}, nil
}

func startEmbedded(ctx context.Context) (cluster, error) {
	dir, err := os.MkdirTemp("", "dashstream-broker-")
	if err != nil {
		return cluster{}, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := embedded.Start(ctx, embedded.Options{DataDir: dir, Listen: "127.0.0.1:0", Logger: log})
	if err != nil {
		return cluster{}, errors.Join(err, os.RemoveAll(dir))
	}
	return cluster{
		brokers: []string{b.Addr()},
		close: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			return errors.Join(b.Close(ctx), os.RemoveAll(dir))
		},
	}, nil
}
