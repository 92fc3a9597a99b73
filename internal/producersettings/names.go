package producersettings

import "github.com/dashflow/dashstream/internal/settings"

// ofCommands are the variables that the program reads and the SDK does not: an agent may share its environment with a
// gateway. The SDK must not depend on what declares them; a test of the command line compares.
var ofCommands = []string{
	"DASHSTREAM_ALLOWED_ORIGINS", "DASHSTREAM_DATA_DIR", "DASHSTREAM_DEMO", "DASHSTREAM_DEMO_RATE", "DASHSTREAM_DEMO_SEED", "DASHSTREAM_DLQ_MODE",
	"DASHSTREAM_FSYNC", "DASHSTREAM_HISTORY_CACHE_MIB", "DASHSTREAM_HOT_TAIL_MIB", "DASHSTREAM_KAFKA_LISTEN", "DASHSTREAM_LISTEN",
	"DASHSTREAM_LOG_FORMAT", "DASHSTREAM_LOG_LEVEL", "DASHSTREAM_MAX_PAYLOAD_BYTES", "DASHSTREAM_OPEN", "DASHSTREAM_PPROF",
	"DASHSTREAM_READY_FILE", "DASHSTREAM_SHUTDOWN_TIMEOUT_SECS", "DASHSTREAM_TOKEN", "DASHSTREAM_TOKEN_FILE",
	"DASHSTREAM_TOPICS_MIN_INSYNC", "DASHSTREAM_TOPICS_PARTITIONS", "DASHSTREAM_TOPICS_PROFILE", "DASHSTREAM_TOPICS_REPLICATION",
	"DASHSTREAM_TOPICS_RETENTION", "DASHSTREAM_TOPICS_TIMEOUT_SECS",
}

// Unknown picks the variables under settings.Prefix that neither a producer with these Kafka settings nor a command reads.
func Unknown(names []string, kafka any) []settings.UnknownVariable {
	known := ofCommands[:len(ofCommands):len(ofCommands)]
	for _, s := range []any{kafka, new(Default())} {
		fields, err := settings.Fields(s)
		if err != nil {
			return nil // a mistake of the declaration, which tests refuse
		}
		for _, f := range fields {
			known = append(known, f.Envs...)
		}
	}
	return settings.Unknown(names, known)
}
