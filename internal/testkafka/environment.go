package testkafka

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	envBackend = "DASHSTREAM_TEST_KAFKA"
	envBrokers = "DASHSTREAM_TEST_KAFKA_BROKERS"
	envJars    = "DASHSTREAM_TEST_KAFKA_JARS"

	// KafkaVersion is the Apache Kafka release of the tests; scripts/kafka-jars.sh fetches the same (a test compares).
	KafkaVersion = "4.3.1"
)

type environment struct {
	backend Backend
	brokers []string // of a given cluster
	jars    string
}

func readEnvironment() (environment, error) {
	env := environment{backend: Embedded, jars: os.Getenv(envJars)}
	switch v := os.Getenv(envBackend); v {
	case "", string(Embedded):
	case string(Apache):
		env.backend = Apache
	default:
		return env, fmt.Errorf("%s=%q is not a backend; want %s or %s", envBackend, v, Embedded, Apache)
	}
	for addr := range strings.SplitSeq(os.Getenv(envBrokers), ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			env.backend = Apache
			env.brokers = append(env.brokers, addr)
		}
	}
	if env.backend == Apache && env.jars == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return env, fmt.Errorf("find the Kafka jars: %w", err)
			}
			cache = filepath.Join(home, ".cache")
		}
		env.jars = filepath.Join(cache, "dashstream", "kafka-"+KafkaVersion)
	}
	return env, nil
}
